"""What the package shows to who looks around in it."""

import numpy as np
import pytest

import sharedmem


def test_dir_shows_what_is_public():
    """dir() has the public names, and none of the modules that make them."""
    shown = {name for name in dir(sharedmem) if not name.startswith("__")}
    assert shown <= set(sharedmem.__all__)
    assert set(sharedmem.__all__) - shown == {"SharedMemArray", "SlaveException", "wrap"}
    assert {"__all__", "__doc__", "__version__"} <= set(dir(sharedmem))
    assert not {"os", "annotations"} & set(vars(sharedmem))


@pytest.mark.parametrize("name", ["arange", "linspace", "eye", "identity", "loadtxt", "tri", "stack"])
def test_constructor_that_is_numpys_alone(name):
    """Who looks for one of NumPy's is told how to share what it makes."""
    with pytest.raises(
        AttributeError, match=rf"has no attribute '{name}': .*copy\(np\.{name}\("
    ) as caught:
        getattr(sharedmem, name)
    assert callable(getattr(np, name)) and "sharedmem" in str(caught.value)


def test_asarray():
    """Who looks for asarray() is told of asshared()."""
    with pytest.raises(AttributeError, match="asshared"):
        _ = sharedmem.asarray


@pytest.mark.parametrize("name", ["arrange", "__path", "nothing"])
def test_what_is_not_there(name):
    """Any other name is missing as in any module."""
    assert not hasattr(sharedmem, name)
    with pytest.raises(AttributeError, match=rf"^module 'sharedmem' has no attribute '{name}'$"):
        getattr(sharedmem, name)


def test_all_of_npshmex():
    """`from npshmex import *` gave NumPy as np, and so does the module that stands for it."""
    names = {}
    exec("from sharedmem.compat.npshmex import *", names)
    assert names["np"] is np and "ProcessPoolExecutor" in names
