from .access import Access as Access
from .access import read_access as read_access
from .app import Page as Page
from .app import file_response as file_response
from .feed import Feed as Feed
from .server import serve as serve
