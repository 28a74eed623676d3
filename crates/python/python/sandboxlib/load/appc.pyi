from os import PathLike
from typing import Any, ContextManager, Dict, Tuple, Union

BASE_ENVIRONMENT: Dict[str, str]

def is_app_container_image(path: Union[str, PathLike[str]]) -> bool: ...
def unpack_app_container_image(
    image_file: Union[str, PathLike[str]],
) -> ContextManager[Tuple[str, Dict[str, Any]]]: ...
