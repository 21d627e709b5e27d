"""Modules written for nose run unchanged, and fail where they should."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def shim_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pytest that runs the modules has the shim and no other plugin."""
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=source)
    return nose(pytester, *options)


def nose(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "-p", "nose_shim", "-W", "error", "--strict-markers", "-rA", "-s", *options
    )


def said(result: pytest.RunResult) -> list[str]:
    """What the tests printed with log()."""
    return re.findall(r"<<(.*?)>>", result.stdout.str())


LOG = "def log(*words): print(end='<<' + ' '.join(map(str, words)) + '>>')\n"

# ---- setup and teardown ----------------------------------------------------


@pytest.mark.parametrize("setup", ["setup", "setUp", "setup_module", "setupModule", "setUpModule"])
@pytest.mark.parametrize("parameter", ["", "module"])
def test_setup_of_a_module(pytester: pytest.Pytester, setup: str, parameter: str) -> None:
    """Every name of a module's setup and teardown; around all of its tests, once; failing ones too."""
    teardown = setup.replace("setup", "teardown").replace("setUp", "tearDown")
    result = run(
        pytester,
        f"""{LOG}
def {setup}({parameter}): log('up')
def {teardown}({parameter}): log('down')
def test_a(): log('a'); assert 0
def test_b(): log('b')
""",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert said(result) == ["up", "a", "b", "down"]


def test_first_name_wins(pytester: pytest.Pytester) -> None:
    """Of several names nose takes the first it knows, as of setup and of teardown."""
    result = run(
        pytester,
        f"""{LOG}
def setup(): log('setup')
def setup_module(): log('setup_module')
def teardown(): log('teardown')
def tearDown(): log('tearDown')
def test(): log('test')
class TestClass:
    def setUp(self): log('setUp')
    def setup(self): log('setup of the method')
    @classmethod
    def setUpAll(cls): log('setUpAll')
    @classmethod
    def setup_all(cls): log('setup_all')
    def test(self): log('method')
""",
    )
    result.assert_outcomes(passed=2)
    assert said(result) == [
        "setup_module", "test", "setup_all", "setup of the method", "method", "teardown",
    ]  # fmt: skip


@pytest.mark.parametrize("names", ["setup teardown", "setUp tearDown"])
@pytest.mark.parametrize(
    "class_names",
    [
        "setup_class teardown_class",
        "setup_all teardown_all",
        "setupClass teardownClass",
        "setupAll teardownAll",
        "setUpClass tearDownClass",
        "setUpAll tearDownAll",
    ],
)
def test_setup_of_a_class(pytester: pytest.Pytester, class_names: str, names: str) -> None:
    """Every name of a class's setup, and of that of its methods, which have an instance each."""
    setup, teardown = names.split()
    setup_class, teardown_class = class_names.split()
    result = run(
        pytester,
        f"""{LOG}
class TestClass:
    @classmethod
    def {setup_class}(cls): log('up', cls.__name__)
    @classmethod
    def {teardown_class}(cls): log('down', cls.__name__)
    def {setup}(self): log('setup'); assert not hasattr(self, 'seen'); self.seen = True
    def {teardown}(self): log('teardown'); assert self.seen
    def test_a(self): log('a'); assert not self.seen
    def test_b(self): log('b'); assert self.seen
class TestDerived(TestClass):
    def {setup}(self): log('derived'); super().{setup}()
""",
    )
    result.assert_outcomes(passed=2, failed=2)
    each = ["setup", "a", "teardown", "setup", "b", "teardown"]
    derived = ["derived", *each[:3], "derived", *each[3:]]
    assert said(result) == [
        "up TestClass", *each, "down TestClass", "up TestDerived", *derived, "down TestDerived",
    ]  # fmt: skip


@pytest.mark.parametrize("setup", ["setup_package", "setupPackage", "setUpPackage", "setup"])
def test_setup_of_a_package(pytester: pytest.Pytester, setup: str) -> None:
    """Every name of a package's setup and teardown; around all of its modules, once."""
    teardown = setup.replace("setup", "teardown").replace("setUp", "tearDown")
    head = "from outer import log\n"
    pytester.makepyfile(
        **{
            "outer/__init__": f"{LOG}\ndef {setup}(): log('up')\ndef {teardown}(): log('down')",
            "outer/test_a": head + "def test(): log('a')",
            "outer/test_b": head + "def test():\n    for i in range(2): yield log, 'b', i",
        }
    )
    result = nose(pytester)
    result.assert_outcomes(passed=3)
    assert said(result) == ["up", "a", "b 0", "b 1", "down"]


WITH_SETUP = f"""{LOG}
from nose import with_setup
def outer(): log('outer')
def inner(): log('inner')
def outer_end(): log('outer end')
def inner_end(): log('inner end')
@with_setup(outer, outer_end)
@with_setup(inner, inner_end)
def test_both(): log('test'); assert 0
@with_setup(teardown=inner_end)
def test_teardown_only(): log('test')
def broken(): 1 / 0
@with_setup(broken, inner_end)
def test_never(): log('never')
"""


def test_setup_of_a_function(pytester: pytest.Pytester) -> None:
    """with_setup() nests; teardown runs after a failure, and not where setup failed."""
    result = run(pytester, WITH_SETUP)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    assert said(result) == [
        "outer", "inner", "test", "inner end", "outer end", "test", "inner end",
    ]  # fmt: skip
    result.stdout.fnmatch_lines(["*ERROR at setup of test_never*", "*ZeroDivisionError*"])


def test_failing_setup_of_a_module(pytester: pytest.Pytester) -> None:
    """Where a module's setup fails each of its tests is an error, and teardown is not run."""
    result = run(
        pytester,
        f"""{LOG}
def setup(): 1 / 0
def teardown(): log('down')
def check(): pass
def test_a(): pass
def test_generated(): yield check
""",
    )
    result.assert_outcomes(errors=2)
    assert said(result) == []


def test_fixtures_are_left_alone(pytester: pytest.Pytester) -> None:
    """A pytest fixture that has a name of nose's is only a fixture."""
    result = run(
        pytester,
        f"""{LOG}
import pytest
@pytest.fixture
def setup():
    return 7
def test(setup): assert setup == 7
def test_none(): pass
""",
    )
    result.assert_outcomes(passed=2)


# ---- generators ------------------------------------------------------------

GENERATORS = f"""{LOG}
from nose.tools import eq_, with_setup, ok_
made = []
def setup(): log('up'); made.append(4)
def teardown(): log('down')
def check_even(number): log(number); eq_(number % 2, 0)
def test_even():
    for number in [0, 3, *made]:
        yield check_even, number
def test_alone():
    yield lambda: ok_(made)
def begin(): log('begin')
def end(): log('end')
def before(): log('before')
def after(): log('after')
@with_setup(before, after)
def check(number): log('check', number); ok_(number)
@with_setup(begin, end)
def test_with_setup():
    log('generating')
    yield check, 0
    yield check, 1
class Called:
    def setup(self): log('setup of the object')
    def teardown(self): log('teardown of the object')
    def __call__(self, word): log(word)
def test_object():
    yield Called(), 'called'
"""


def test_each_case_of_a_generator_is_an_item(pytester: pytest.Pytester) -> None:
    """Each yielded tuple passes or fails by itself, and can be selected; setup is where nose has it."""
    result = run(pytester, GENERATORS, "-v")
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*test_it.py::test_even::check_even[[]0] *PASSED*",
            "*test_it.py::test_even::check_even[[]1] *FAILED*",
            "*test_it.py::test_even::check_even[[]2] *PASSED*",
        ]
    )
    assert said(result) == [
        "up", "begin", "generating", "0", "3", "4",
        "before", "check 0", "after", "before", "check 1", "after", "end",
        "setup of the object", "called", "teardown of the object", "down",
    ]  # fmt: skip
    selected = nose(pytester, "test_it.py::test_even::check_even[1]")
    selected.assert_outcomes(failed=1)
    assert said(selected)[-2:] == ["3", "down"]


def test_generator_methods(pytester: pytest.Pytester) -> None:
    """A yielded method, its name, or a function: each has an instance and a setup of its own."""
    result = run(
        pytester,
        f"""{LOG}
def function(word): log(word)
class TestClass:
    @classmethod
    def setup_class(cls): log('class'); cls.words = ['name', 'method']
    @classmethod
    def teardown_class(cls): log('end of the class')
    def setup(self): log('setup'); self.count = 0
    def teardown(self): log('teardown', self.count)
    def check(self, word): log(word); self.count += 1; assert word != 'method'
    def test_generated(self):
        yield 'check', self.words[0]
        yield self.check, self.words[1]
        yield function, 'function'
""",
    )
    result.assert_outcomes(passed=2, failed=1)
    assert said(result) == [
        "class", "setup", "name", "teardown 1", "setup", "method", "teardown 1",
        "setup", "function", "teardown 0", "end of the class",
    ]  # fmt: skip


def test_generator_that_fails_half_way(pytester: pytest.Pytester) -> None:
    """What a generator raises is a failed item, beside those that it made before; a skip is a skip."""
    result = run(
        pytester,
        """
from nose import SkipTest
def check(): pass
def test_fails():
    yield check
    1 / 0
def test_skips():
    raise SkipTest('not here')
    yield check
def test_nothing():
    return
    yield
""",
    )
    result.assert_outcomes(passed=1, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_setup_for_a_generator_is_undone_though_no_test_runs(pytester: pytest.Pytester) -> None:
    """Setup that was needed to collect is followed by teardown when nothing is run."""
    result = run(pytester, GENERATORS, "--collect-only")
    heard = said(result)
    assert [each for each in heard if each in ("up", "down", "begin", "end")] == [
        "up", "begin", "end", "down",
    ]  # fmt: skip


# ---- nose.tools, attributes, skipping --------------------------------------

TOOLS = """
from nose.tools import *
import nose.tools, sys
from nose.plugins.skip import SkipTest

def test_all():
    ok_(1); eq_(1, 1)
    assert_equal(1, 1); assert_equals(1, 1); assert_not_equal(1, 2); assert_not_equals(1, 2)
    assert_true(1); assert_false(0); assert_in(1, [1]); assert_not_in(2, [1])
    assert_is(None, None); assert_is_not(1, None); assert_is_none(None); assert_is_not_none(1)
    assert_is_instance(1, int); assert_not_is_instance(1, str)
    assert_greater(2, 1); assert_greater_equal(2, 2); assert_less(1, 2); assert_less_equal(1, 1)
    assert_almost_equal(1, 1.00000001); assert_almost_equals(1, 1.00000001)
    assert_not_almost_equal(1, 1.1); assert_not_almost_equals(1, 1.1)
    assert_raises(ZeroDivisionError, lambda: 1 / 0)
    with assert_raises(KeyError) as caught: {}['word']
    eq_(caught.exception.args, ('word',))
    assert_raises_regexp(ValueError, 'invalid', int, 'x'); assert_raises_regex(ValueError, 'x', int, 'x')
    assert_regexp_matches('abc', 'b'); assert_not_regexp_matches('abc', 'd')
    assert_items_equal([1, 2], [2, 1]); assert_list_equal([1], [1]); assert_dict_equal({}, {})
    assert_sequence_equal((1,), [1]); assert_multi_line_equal('a', 'a')

def test_ok(): ok_(0, 'not so')
def test_eq(): eq_(1, 2)
def test_equal(): assert_equal([1], [2], 'differ')
def test_almost(): assert_almost_equal(1, 1.1)
def test_true(): assert_true([])
def test_no_raise(): assert_raises(KeyError, int, 1)

@raises(ZeroDivisionError, KeyError)
def test_raises(): 1 / 0
@raises(KeyError)
def test_raises_another(): 1 / 0
@raises(KeyError)
def test_raises_nothing(): pass

@nottest
def test_not_one(): assert 0
@istest
def is_one(): pass

def decorator(function):
    def replacement(): function()
    return make_decorator(function)(replacement)
@decorator
def test_decorated(): pass

def test_skipped(): raise SkipTest('no reason')
def test_same(): assert nose.SkipTest is SkipTest is nose.tools.SkipTest
"""


def test_tools(pytester: pytest.Pytester) -> None:
    """The assertions hold and fail as unittest's do; raises, istest, nottest, SkipTest."""
    result = run(pytester, TOOLS)
    result.assert_outcomes(passed=5, failed=8, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: not so",
            "*AssertionError: 1 != 2",
            "*AssertionError: Lists differ*",
            "*did not raise KeyError",
            "SKIPPED *no reason",
        ]
    )
    passed = re.findall(r"^PASSED .*::(\w+)$", result.stdout.str(), re.MULTILINE)
    assert sorted(passed) == ["is_one", "test_all", "test_decorated", "test_raises", "test_same"]


ATTRIBUTES = f"""{LOG}
from nose.plugins.attrib import attr
@attr('slow', 'net')
def test_slow(): log('slow')
@attr(speed='low')
def test_low(): log('low')
@attr('slow')
class TestClass:
    def test(self): log('class')
@attr('slow')
def test_generated():
    yield log, 'generated'
@attr('skip', '_private')
def test_not_skipped(): log('not skipped')
def test_attributes():
    assert test_slow.net and test_low.speed == 'low' and test_not_skipped.skip
"""


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("slow", ["slow", "class", "generated"]),
        ("not slow", ["low", "not skipped"]),
        ("slow and net", ["slow"]),
        ("speed", ["low"]),
    ],
)
def test_attributes_are_marks(pytester: pytest.Pytester, expression: str, expected: list[str]) -> None:
    """attr() sets attributes, and marks that -m selects by without registering them."""
    result = run(pytester, ATTRIBUTES, "-m", expression)
    assert said(result) == expected
    assert result.ret == 0


def test_unittest_cases_are_left_alone(pytester: pytest.Pytester) -> None:
    """A TestCase beside them runs as ever, in the module's setup."""
    result = run(
        pytester,
        f"""{LOG}
import unittest
def setup(): log('up')
class TestIt(unittest.TestCase):
    @classmethod
    def setUpClass(cls): log('class')
    def setUp(self): log('setUp')
    def test(self): log('test')
""",
    )
    result.assert_outcomes(passed=1)
    assert said(result) == ["up", "class", "setUp", "test"]
