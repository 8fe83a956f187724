"""Settings of the allocator for processes that are started."""

from harness.memory import KEPT_MEMORY, with_kept_memory


def test_settings_are_added_and_a_users_own_stand():
    assert with_kept_memory({"A": "b"}) == {"A": "b", **KEPT_MEMORY}
    name = next(iter(KEPT_MEMORY))
    assert with_kept_memory({name: "1"})[name] == "1"


def test_the_environment_of_this_process_is_left_as_it_is():
    given = {"A": "b"}
    with_kept_memory(given)
    assert given == {"A": "b"}
