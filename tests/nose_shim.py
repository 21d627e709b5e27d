"""Runs tests that were written for nose, unchanged, under today's pytest.

As a plugin (``-p nose_shim``, or in ``pytest_plugins``) it puts modules ``nose``,
``nose.tools``, ``nose.plugins.attrib`` and ``nose.plugins.skip`` into sys.modules
unless nose itself is there, and lets pytest collect and set up what nose would:

* setup and teardown of packages, modules, classes, methods and functions, under
  every name that nose knew; the first name in nose's order wins, and only that;
* generators: each tuple (function, arguments...) that a test function or method
  yields is an item of its own. They run when they are collected; the setup of
  what they lie in has run by then, and its teardown comes after their last item;
* ``@attr('slow', speed=1)`` as the marks ``slow`` and ``speed(value=1)``.

Not done: nose's rule for names (pytest's options say which are tests), its
command line, its other plugins.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import unittest
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

MODULE_SETUP = ("setup_module", "setupModule", "setUpModule", "setup", "setUp")
MODULE_TEARDOWN = ("teardown_module", "teardownModule", "tearDownModule", "teardown", "tearDown")
PACKAGE_SETUP = ("setup_package", "setupPackage", "setUpPackage", *MODULE_SETUP)
PACKAGE_TEARDOWN = ("teardown_package", "teardownPackage", "tearDownPackage", *MODULE_TEARDOWN)
CLASS_SETUP = ("setup_class", "setup_all", "setupClass", "setupAll", "setUpClass", "setUpAll")
CLASS_TEARDOWN = (
    "teardown_class", "teardown_all", "teardownClass", "teardownAll", "tearDownClass", "tearDownAll",
)  # fmt: skip
FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
TEST_SETUP = ("setup", "setUp")
TEST_TEARDOWN = ("teardown", "tearDown")


# ---- setup and teardown ----------------------------------------------------


def first_of(holder: Any, names: Iterable[str]) -> Callable[..., object] | None:
    """The first of these that is a function, and not a fixture of pytest's."""
    for name in names:
        found = lookup(holder, name)
        if isinstance(found, FUNCTIONS) and not hasattr(found, "_pytestfixturefunction"):
            return found
    return None


def lookup(holder: Any, name: str) -> Any:
    """An attribute; of a class, what was there before adopt() came, bound to this very class."""
    if not inspect.isclass(holder):
        return getattr(holder, name, None)
    found = inspect.getattr_static(holder, name, None)
    while isinstance(found, staticmethod) and hasattr(found.__func__, "replaces"):
        found = found.__func__.replaces
    return found.__get__(None, holder) if hasattr(found, "__get__") else found


def call(function: Callable[..., object] | None, holder: object) -> None:
    """Call it, with what it is the setup of if it takes that."""
    if function is None:
        return
    parameters = inspect.signature(function).parameters.values()
    takes = [
        each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    function(*[holder][: len(takes)])


class Context:
    """Setup and teardown of a package, module, class or generator.

    A generator inside needs the setup while it is collected, pytest when the
    first item runs: whoever comes first runs it, and it is run once.
    """

    def __init__(self, holder: object, setup: Iterable[str], teardown: Iterable[str]) -> None:
        self.holder = holder
        self.setup = first_of(holder, setup)
        self.teardown = first_of(holder, teardown)
        self.is_up = False

    def set_up(self) -> None:
        if not self.is_up:
            call(self.setup, self.holder)
            self.is_up = True

    def tear_down(self) -> None:
        if self.is_up:
            self.is_up = False
            call(self.teardown, self.holder)


# By id() of the holder, which the context keeps alive; those of generators by their own.
contexts: dict[int, Context] = {}


def adopt(holder: Any, setup: tuple[str, ...], teardown: tuple[str, ...], *native: str) -> None:
    """Put nose's setup and teardown under the names that pytest calls."""
    if id(holder) in contexts:
        return
    context = contexts[id(holder)] = Context(holder, setup, teardown)
    if context.setup is None and context.teardown is None:
        return
    for name in native:
        act = plain(context.tear_down if name.lower().startswith("teardown") else context.set_up)
        if inspect.isclass(holder):
            act.replaces = inspect.getattr_static(holder, name, None)
            act = staticmethod(act)
        setattr(holder, name, act)


def plain(method: Callable[[], None]) -> Any:
    """pytest calls what lies behind a method, with an argument of its own."""

    def function() -> None:
        method()

    return function


def adopt_module(module: types.ModuleType) -> None:
    native = ("setUpModule", "setup_module", "tearDownModule", "teardown_module")
    package = getattr(module, "__package__", "") or ""
    for name in ancestors(package):
        if name in sys.modules:
            adopt(sys.modules[name], PACKAGE_SETUP, PACKAGE_TEARDOWN, *native)
    adopt(module, MODULE_SETUP, MODULE_TEARDOWN, *native)


def ancestors(package: str) -> list[str]:
    """The package and those it lies in, outermost first."""
    parts = package.split(".") if package else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def adopt_class(cls: type) -> None:
    adopt(cls, CLASS_SETUP, CLASS_TEARDOWN, "setup_class", "teardown_class")
    for native, names in ("setup_method", TEST_SETUP), ("teardown_method", TEST_TEARDOWN):
        if first_of(cls, names) is not None:
            setattr(cls, native, by_name(names))


def by_name(names: tuple[str, ...]) -> Callable[[Any], None]:
    """A method that calls the first of these, as a subclass may have it."""

    def method(self: Any) -> None:
        function = first_of(self, names)
        if function is not None:
            function()

    return method


def pytest_pycollect_makemodule(module_path: Any, parent: pytest.Collector) -> pytest.Module:
    return Module.from_parent(parent, path=module_path)


class Module(pytest.Module):
    """A module whose setup has nose's names."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        adopt_module(self.obj)
        return super().collect()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Any:
    if inspect.isclass(obj):
        if not issubclass(obj, unittest.TestCase) and collector.classnamefilter(name):
            adopt_class(obj)
        return None
    if isinstance(obj, FUNCTIONS) and getattr(obj, "__test__", None) is False:
        return []
    if inspect.isgeneratorfunction(obj) and collector.istestfunction(obj, name):
        return Generator.from_parent(collector, name=name, function=obj)
    return None


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What with_setup() has attached; after all of pytest's own."""
    generator = item.parent
    if isinstance(generator, Generator):
        generator.context.set_up()
        generator.addfinalizer(generator.context.tear_down)
    test = item.yielded if isinstance(item, Case) else getattr(item, "obj", None)
    setup, teardown = first_of(test, TEST_SETUP), first_of(test, TEST_TEARDOWN)
    if setup is not None:
        setup()
    if teardown is not None:
        item.addfinalizer(teardown)


def pytest_sessionfinish() -> None:
    """Tear down what was set up for generators none of whose items was run."""
    while contexts:
        contexts.popitem()[1].tear_down()


# ---- generators ------------------------------------------------------------


class Generator(pytest.Collector):
    """A test function or method that yields tests."""

    def __init__(self, *, function: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.function = function
        self.context = Context(function, TEST_SETUP, TEST_TEARDOWN)
        self.cls = getattr(self.getparent(pytest.Class), "obj", None)
        self.own_markers.extend(getattr(function, "pytestmark", []))
        self.keywords.update((mark.name, mark) for mark in self.own_markers)

    def collect(self) -> Iterator[pytest.Item]:
        number = 0
        try:
            for context in self.contexts():
                context.set_up()
            for number, made in enumerate(self.generate()):
                function, *args = made if isinstance(made, tuple) else (made,)
                title = function if isinstance(function, str) else getattr(function, "__name__", "test")
                yield self.case(f"{title}[{number}]", function, args)
        except Exception as error:
            # To be reported as a test that fails, or is skipped, beside those made so far.
            yield self.case(f"generator[{number}]", functools.partial(throw, error), [])

    def contexts(self) -> Iterator[Context]:
        """Of all that this lies in, outermost first."""
        module = self.getparent(pytest.Module).obj
        packages = ancestors(getattr(module, "__package__", "") or "")
        for holder in *map(sys.modules.get, packages), module, self.cls:
            if id(holder) in contexts:
                yield contexts[id(holder)]
        contexts[id(self.context)] = self.context
        yield self.context

    def generate(self) -> Iterator[Any]:
        return self.function(self.cls()) if self.cls else self.function()

    def case(self, name: str, function: Any, args: list[Any]) -> pytest.Item:
        """An item that calls it; in a class with an instance, and so a setup, of its own."""

        def run(*instance: object) -> None:
            __tracebackhide__ = True
            called = function
            if isinstance(called, str):
                called = getattr(instance[0], called)
            elif inspect.ismethod(called) and type(called.__self__) is self.cls:
                called = getattr(instance[0], called.__name__)
            called(*args)

        run.__name__ = self.name
        run.pytestmark = list(getattr(function, "pytestmark", []))
        made = types.MethodType(run, self.cls()) if self.cls else run
        return Case.from_parent(self, name=name, callobj=made, yielded=function)


class Case(pytest.Function):
    """One test that a generator has yielded."""

    def __init__(self, *, yielded: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.yielded = yielded

    def reportinfo(self) -> tuple[Any, int | None, str]:
        function = inspect.unwrap(self.parent.function)
        return self.path, function.__code__.co_firstlineno - 1, f"{self.parent.name} {self.name}"


def throw(error: Exception) -> None:
    raise error


# ---- the modules -----------------------------------------------------------


def with_setup(
    setup: Callable[[], object] | None = None, teardown: Callable[[], object] | None = None
) -> Callable[[Any], Any]:
    """Attach setup and teardown to a function; those of an outer decorator enclose it."""

    def decorate(function: Any) -> Any:
        before, after = getattr(function, "setup", None), getattr(function, "teardown", None)
        function.setup = in_turn(setup, before)
        function.teardown = in_turn(after, teardown)
        return function

    return decorate


def in_turn(*functions: Callable[[], object] | None) -> Callable[[], None]:
    def call_all() -> None:
        for function in functions:
            if function is not None:
                function()

    return call_all


def raises(*exceptions: type[BaseException]) -> Callable[[Any], Any]:
    """The test must raise one of these."""
    names = " or ".join(each.__name__ for each in exceptions)

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def test(*args: Any, **keywords: Any) -> None:
            try:
                function(*args, **keywords)
            except exceptions:
                return
            raise AssertionError(f"{function.__name__}() did not raise {names}")

        return test

    return decorate


def make_decorator(function: Any) -> Callable[[Any], Any]:
    """Give a function the name and attributes of the one that it stands for."""
    return functools.wraps(function)


def istest(function: Any) -> Any:
    function.__test__ = True
    return function


def nottest(function: Any) -> Any:
    function.__test__ = False
    return function


def ok_(expression: object, message: str | None = None) -> None:
    __tracebackhide__ = True
    if not expression:
        raise AssertionError(message)


def eq_(a: object, b: object, message: str | None = None) -> None:
    __tracebackhide__ = True
    if not a == b:
        raise AssertionError(message or f"{a!r} != {b!r}")


def assertions() -> dict[str, Any]:
    """unittest's, with underscores, and under the names that it has dropped since."""
    case = unittest.TestCase()
    case.maxDiff = None
    made = {}
    for name in dir(case):
        if name.startswith("assert") and "_" not in name:
            words = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
            made[words] = getattr(case, name)
    for old, new in {
        "equals": "equal",
        "not_equals": "not_equal",
        "almost_equals": "almost_equal",
        "not_almost_equals": "not_almost_equal",
        "items_equal": "count_equal",
        "raises_regexp": "raises_regex",
        "regexp_matches": "regex",
        "not_regexp_matches": "not_regex",
    }.items():
        made[f"assert_{old}"] = made[f"assert_{new}"]
    return made


class Attributes:
    """nose.plugins.attrib.attr: attributes of a test, and marks to select it by."""

    config: pytest.Config | None = None
    meaningful = frozenset({"skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings"})

    def __call__(self, *names: str, **values: object) -> Callable[[Any], Any]:
        def decorate(test: Any) -> Any:
            for name in names:
                setattr(test, name, True)
                self.mark(test, name)
            for name, value in values.items():
                setattr(test, name, value)
                self.mark(test, name, value=value)
            return test

        return decorate

    def mark(self, test: Any, name: str, **value: object) -> None:
        """Mark it, unless pytest would take the mark for more than an attribute."""
        if self.config is None or name in self.meaningful or name.startswith("_"):
            return
        lines = self.config.getini("markers")
        if name not in {line.split(":")[0].split("(")[0].strip() for line in lines}:
            self.config.addinivalue_line("markers", f"{name}: an attribute of nose's")
        mark = getattr(pytest.mark, name)
        (mark(**value) if value else mark)(test)


attr = Attributes()


def module(name: str, **contents: Any) -> types.ModuleType:
    made = types.ModuleType(name, "Stands in for nose's module of this name.")
    vars(made).update(contents)
    return made


def make_modules() -> dict[str, types.ModuleType]:
    tools = module(
        "nose.tools",
        **assertions(),
        **{
            each.__name__: each
            for each in (ok_, eq_, raises, with_setup, make_decorator, istest, nottest)
        },
        SkipTest=unittest.SkipTest,
    )
    attrib, skip = (
        module("nose.plugins.attrib", attr=attr),
        module("nose.plugins.skip", SkipTest=unittest.SkipTest),
    )
    plugins = module("nose.plugins", attrib=attrib, skip=skip, __path__=[])
    nose = module(
        "nose",
        tools=tools,
        plugins=plugins,
        SkipTest=unittest.SkipTest,
        with_setup=with_setup,
        __path__=[],
    )
    return {each.__name__: each for each in (nose, tools, plugins, attrib, skip)}


def pytest_configure(config: pytest.Config) -> None:
    attr.config = config
    if config.pluginmanager.has_plugin("nose"):  # what pytest 8.0 still has, to warn of it
        config.pluginmanager.unregister(name="nose")
    if "nose" not in sys.modules:
        sys.modules.update(make_modules())
