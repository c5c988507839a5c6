"""What a start leaves for later: packages run when they are first asked for, the first dispatch's when it is ready.

importlib's LazyLoader does this for modules alone: the first submodule that is imported runs its whole package.
"""

import codecs
import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from typing import Any


def put_off_what_a_start_does_not_use() -> None:
    """Before those packages are imported. They are a tenth of a start."""
    put_off("importlib.metadata", "entry_points")  # for pydantic's plugins, which are off; needs email and zipfile
    put_off("logging.config")  # for uvicorn's log_config, which is None; needs pickle and socketserver
    put_off("configparser", "RawConfigParser")  # likewise
    put_off("uvicorn", "Config")  # uvicorn's command line, which needs click and multiprocessing


def catch_up() -> None:
    """Import and build what the first dispatch will ask for: for a server that is ready, and has nothing to do yet."""
    from pydantic import BaseModel

    codecs.lookup("idna")  # to resolve names
    models = BaseModel.__subclasses__()
    for model in models:
        if model.__module__.startswith("gha_step."):
            models += model.__subclasses__()
            model.model_rebuild()  # which is nothing where it is built


def put_off(name: str, *called: str) -> None:
    """Let ``name`` and its submodules be imported, but run it only when it is asked for one of its names.

    What has been imported already stays as it is.

    :param called: functions and classes that others import from it, and that let it run only when they are called.
    """
    if name in sys.modules or (spec := find_spec(name)) is None or (loader := spec.loader) is None:
        return
    module = module_from_spec(spec)
    lock, began = RLock(), False

    def run(wanted: str) -> Any:
        nonlocal began
        with lock:  # held by another thread that runs it; by this one while it asks for a name of itself
            if not began:
                began = True
                loader.exec_module(module)
        try:
            return vars(module)[wanted]
        except KeyError:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}") from None

    def ask(wanted: str) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            return run(wanted)(*values, **named)

        return call if wanted in called else run(wanted)

    vars(module)["__getattr__"] = ask  # PEP 562
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
