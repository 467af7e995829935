from .page import open_review as open_review
