"""What is committed of a partition, whatever the order in which its messages are decided."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gha_step.inbound.port.partitions import MOST_AHEAD, Partitions, Place


def reading(partitions: Partitions, partition: int, offset: int) -> Place:
    place = partitions.read(partition, offset)
    assert place is not None
    return place


def with_read(*offsets: int) -> tuple[Partitions, list[Place]]:
    partitions = Partitions()
    partitions.assigned([0])
    return partitions, [reading(partitions, 0, offset) for offset in offsets]


def test_nothing_is_committed_before_something_was_read() -> None:
    partitions = Partitions()
    partitions.assigned([0, 1])
    assert partitions.to_commit() == {}


def test_where_a_partition_begins_is_committed_at_once() -> None:
    """With `latest`, a group that has committed nothing would begin behind what came while it was down."""
    partitions, _ = with_read(5)
    assert partitions.to_commit() == {0: 5}


def test_only_below_the_first_undecided_message_is_committed() -> None:
    partitions, (first, second, third) = with_read(5, 6, 9)
    partitions.committed(partitions.to_commit())
    partitions.decide(third)
    partitions.decide(second)
    assert partitions.to_commit() == {}
    partitions.decide(first)
    assert partitions.to_commit() == {0: 10}


def test_what_was_committed_is_not_committed_again_unless_the_brokers_did_not_take_it() -> None:
    partitions, (only,) = with_read(5)
    partitions.decide(only)
    partitions.committed(partitions.to_commit())
    assert partitions.to_commit() == {}
    partitions.not_committed()
    assert partitions.to_commit() == {0: 6}


def test_a_decision_of_an_earlier_assignment_counts_no_more() -> None:
    partitions, (before,) = with_read(5)
    partitions.taken([0])
    assert not partitions.decide(before)
    partitions.assigned([0])
    now = reading(partitions, 0, 5)
    assert not partitions.decide(before)
    assert not partitions.has(before)
    assert partitions.decide(now)


def test_a_message_of_a_partition_that_is_not_ours_is_not_read() -> None:
    assert Partitions().read(0, 1) is None


def test_a_message_that_is_in_hand_or_decided_is_not_taken_twice() -> None:
    partitions, (first, _) = with_read(5, 6)
    partitions.decide(first)
    assert partitions.read(0, 5) is None
    assert partitions.read(0, 6) is None


def test_a_forgotten_message_is_read_again_once_and_holds_the_commit_until_then() -> None:
    partitions, (first, second, third) = with_read(5, 6, 7)
    for place in (first, third):
        partitions.decide(place)
    partitions.forget(second)
    assert partitions.to_rewind() == {0: 6}
    partitions.rewound(0, 6)
    assert partitions.to_rewind() == {}
    assert partitions.to_commit() == {0: 6}
    again = reading(partitions, 0, 6)
    assert partitions.read(0, 7) is None
    partitions.decide(again)
    assert partitions.to_commit() == {0: 8}


def test_one_that_is_forgotten_while_an_earlier_one_is_sought_needs_no_rewind_of_its_own() -> None:
    partitions, (first, second) = with_read(5, 6)
    partitions.forget(first)
    partitions.rewound(0, 5)
    partitions.forget(second)
    assert partitions.to_rewind() == {}
    reading(partitions, 0, 5)
    reading(partitions, 0, 6)


def test_one_that_retention_has_removed_meanwhile_does_not_hold_the_commit() -> None:
    partitions, (first, second) = with_read(5, 6)
    partitions.decide(second)
    partitions.forget(first)
    partitions.rewound(0, 5)
    assert partitions.read(0, 6) is None
    assert partitions.to_commit() == {0: 7}


def test_far_behind_the_first_undecided_message_nothing_more_is_read() -> None:
    partitions, (first,) = with_read(0)
    for offset in range(1, MOST_AHEAD):
        partitions.decide(reading(partitions, 0, offset))
    assert partitions.crowded(0)
    assert not partitions.crowded(1)
    partitions.decide(first)
    assert not partitions.crowded(0)


@example([("read", 0), ("read", 0), ("forget", 0), ("rewind", 0)])
@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "decide", "forget", "rewind", "commit", "lose"]), st.integers(0, 30)),
        max_size=80,
    )
)
def test_whatever_happens_nothing_undecided_is_ever_committed_and_everything_decided_at_the_end(
    events: list[tuple[str, int]],
) -> None:
    """The topic as a list: a position that reads on, jumps back as asked, and a set of what was really done with."""
    partitions, position, hands, done, committed = Partitions(), 0, list[Place](), set[int](), 0
    last = 0  # of the topic: where nothing was read beyond
    partitions.assigned([0])

    def read() -> None:
        nonlocal position, last
        if (place := partitions.read(0, position)) is not None:
            assert place.offset not in done, "a message came twice"
            hands.append(place)
        position += 1
        last = max(last, position)

    for what, number in events:
        match what:
            case "read":
                read()
            case "decide" if hands:
                place = hands.pop(number % len(hands))
                if partitions.decide(place):
                    done.add(place.offset)
            case "forget" if hands:
                partitions.forget(hands.pop(number % len(hands)))
            case "rewind":
                for partition, offset in partitions.to_rewind().items():
                    position = offset
                    partitions.rewound(partition, offset)
            case "commit":
                offsets = partitions.to_commit()
                partitions.committed(offsets)
                committed = offsets.get(0, committed)
            case "lose":  # another rebalance: reading begins where it was committed
                partitions.taken([0])
                partitions.assigned([0])
                position, hands = committed, []
                done = {offset for offset in done if offset < committed}
        assert all(offset in done for offset in range(committed))
    for _ in range(100):
        for partition, offset in partitions.to_rewind().items():
            position = offset
            partitions.rewound(partition, offset)
        while position < last:
            read()
        for place in hands:
            assert partitions.decide(place)
            done.add(place.offset)
        hands = []
    partitions.not_committed()
    assert partitions.to_commit().get(0, committed) == max([committed, *(offset + 1 for offset in done)])


@pytest.mark.parametrize("partition", [0, 7])
def test_a_place_says_partition_and_offset(partition: int) -> None:
    assert str(Place(partition, 12, 3)) == f"{partition}/12"
