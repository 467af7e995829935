from .page import LivePage as LivePage
from .page import open_page as open_page
