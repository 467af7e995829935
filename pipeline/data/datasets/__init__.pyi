from .annotations import Dataset as Dataset
from .annotations import whole_snippets as whole_snippets
from .choose import cut_to_length as cut_to_length
from .choose import load_dataset as load_dataset
