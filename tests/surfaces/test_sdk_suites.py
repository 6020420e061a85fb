"""The short form of the suites of OpenAI's and Anthropic's packages; the long one is ``python -m tests.surfaces.sdk``."""

from __future__ import annotations

import pytest

from tests.surfaces import sdk
from tests.surfaces.sdk.suites import SUITES, Suite


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
async def test_the_packages_own_suite_passes_but_for_what_is_listed(tmp_path, suite: Suite):
    try:
        found = await sdk.run(tmp_path, suite, suite.short)
    except sdk.NotToBeHad as exc:
        pytest.skip(str(exc))

    assert found.unexplained == {}
    assert found.passed >= 20
