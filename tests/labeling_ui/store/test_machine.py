"""A model of the label store, driven by hypothesis: whatever several annotators and the clock do, in whatever order."""

from collections import Counter
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment, Judgement
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill

PEOPLE = st.integers(0, 3)
PLACE = st.integers(0, 9)
VERDICTS = st.sampled_from(["left", "right", "tie", "skip"])
LEASE = 60.0
OVERLAP = 2
CAMPAIGN = Campaign(gold_share=0.2, repeat_share=0.3, random_share=0.5, lease_minutes=LEASE / 60)


class Labeling(RuleBasedStateMachine):
    """Four annotators with their pages, three tasks to learn from and one with a known answer."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = Store(self.url, self.clock)
        with self.store.database.write() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                if table is tables.tasks:  # repeats refer to other tasks
                    connection.execute(sa.delete(table).where(table.c.repeat_of.is_not(None)))
                connection.execute(sa.delete(table))
        fill(self.store, 4, OVERLAP, campaign=CAMPAIGN, gold=1)
        self.people = [self.store.annotator(f"annotator {number}", simulated=True).id for number in range(4)]
        self.pages: dict[str, list[Assignment]] = {person: [] for person in self.people}
        self.log: list[Judgement] = []
        self.in_force: dict[tuple[str, str], Judgement] = {}
        self.above: Counter[str] = Counter()

    def teardown(self) -> None:
        """Nothing is stuck: once all leases have run out, others can do what is left."""
        self.store.next_assignment(self.people[0])  # if the clock was put back, it is noticed here
        self.clock.now += LEASE
        for number in range(OVERLAP + 1):
            helper = self.store.annotator(f"helper {number}", simulated=True).id
            self._promote(helper)  # too many may have skipped a task
            for _ in range(20):
                shown = self.store.next_assignment(helper)
                if shown is None:
                    break
                assert self.store.record(shown.judgement(Answer("tie"))) == "taken"
        assert self.store.waiting() == 0
        assert self.store.verify() == []
        self.store.close()

    # What people do.

    @rule(who=PEOPLE, count=st.integers(1, 2))
    def ask(self, who: int, count: int) -> None:
        person = self.people[who]
        given = self.store.assignments(person, count)
        assert len(given) <= count
        assert len({each.task.id for each in given}) == len(given)
        assert not any((each.task.id, person) in self.in_force for each in given), "nobody is asked twice"
        assert all(each.task.reserved_for in (None, person) for each in given)
        assert given == self.store.assignments(person, count), "asking again changes nothing"
        self.pages[person] += given
        with self.store.database.read() as connection:
            for until in connection.execute(sa.select(tables.leases.c.leased_until)).scalars():
                assert until <= self.clock.now + LEASE

    @precondition(lambda self: any(self.pages.values()))
    @rule(who=PEOPLE, place=PLACE, verdict=VERDICTS)
    def answer(self, who: int, place: int, verdict: str) -> None:
        """From any page that was ever open, however old."""
        person = self.people[who]
        if not self.pages[person]:
            return
        shown = self.pages[person][place % len(self.pages[person])]
        pair = (shown.task.id, person)
        late = pair not in self._leases()
        judged = self._answers()[shown.task.id]
        given = shown.judgement(self._said(shown, verdict), key=f"key {len(self.log)}")
        outcome = self.store.record(given)
        assert outcome == ("answered" if pair in self.in_force else "taken")
        if outcome == "taken":
            self.above[shown.task.id] += verdict != "skip" and late and judged >= OVERLAP
            self._happened(given)

    @precondition(lambda self: any(event.action != "undo" for event in self.log))
    @rule(place=PLACE)
    def send_again(self, place: int) -> None:
        sent = [event for event in self.log if event.action != "undo"]
        assert self.store.record(sent[place % len(sent)]) == "repeated"

    @precondition(lambda self: self.in_force)
    @rule(place=PLACE, verdict=VERDICTS)
    def edit(self, place: int, verdict: str) -> None:
        task_id, person = list(self.in_force)[place % len(self.in_force)]
        shown = self.store.assignment(task_id, person)
        assert shown.previous is not None
        assert shown.previous.answer == self.in_force[task_id, person].answer
        said = self._said(shown, verdict)
        # A skip that becomes an answer may come after others have taken the task's places.
        self.above[task_id] += shown.previous.answer.verdict == "skip" and verdict != "skip"
        given = shown.judgement(said, key=f"key {len(self.log)}", action="edit")
        assert self.store.record(given) == "edited"
        self._happened(given)

    @rule(who=PEOPLE)
    def undo(self, who: int) -> None:
        person, key = self.people[who], f"key {len(self.log)}"
        mine = [judgement for (_, by), judgement in self.in_force.items() if by == person]
        newest = max(mine, key=self.log.index, default=None)
        shown = self.store.undo(person, key)
        if newest is None:
            assert shown is None
            return
        assert shown is not None
        assert (shown.task.id, tuple(one.id for one in shown.shown)) == (newest.task_id, newest.shown)
        assert shown.previous is not None
        assert shown.previous.answer == newest.answer
        self._happened(replace(newest, action="undo", key=key))
        assert self.store.undo(person, key) == shown == self.store.next_assignment(person)
        self.pages[person].append(shown)

    # What happens to them.

    @rule(seconds=st.sampled_from([1.0, LEASE / 2, LEASE, 10 * LEASE, -1.0, -LEASE, -1000 * LEASE]))
    def move_the_clock(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.url, self.clock)

    # What always holds.

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        kept = {(each.task_id, each.annotator_id): replace(each, created_at="") for each in self.store.judgements()}
        assert kept == self.in_force
        assert [replace(event, created_at="") for event in self.store.events()] == self.log

    @invariant()
    def the_parts_agree(self) -> None:
        assert self.store.verify() == []

    @invariant()
    def no_place_is_given_twice(self) -> None:
        taken = self._answers() + Counter(task_id for task_id, _ in self._leases())
        for task in self.store.tasks():
            if task.gold is None:
                assert taken[task.id] <= (OVERLAP if task.reserved_for is None else 1) + self.above[task.id]

    def _answers(self) -> Counter[str]:
        return Counter(task_id for (task_id, _), said in self.in_force.items() if said.answer.verdict != "skip")

    def _promote(self, person: str) -> None:
        of = tables.annotators.c.id == person
        with self.store.database.write() as connection:
            connection.execute(sa.update(tables.annotators).where(of).values(role="reviewer"))

    def _leases(self) -> list[tuple[str, str]]:
        with self.store.database.read() as connection:
            rows = connection.execute(sa.select(tables.leases.c.task_id, tables.leases.c.annotator_id))
            return [(row.task_id, row.annotator_id) for row in rows]

    def _happened(self, event: Judgement) -> None:
        self.log.append(event)
        pair = (event.task_id, event.annotator_id)
        self.in_force.pop(pair, None)
        if event.action != "undo":
            self.in_force[pair] = event

    @staticmethod
    def _said(shown: Assignment, verdict: Any) -> Answer:
        if verdict in ("left", "right"):
            return Answer("preferred", shown.shown[verdict == "right"].id)
        return Answer(verdict)


def test_whatever_annotators_and_the_clock_do(store_url: str) -> None:
    machine = type("Machine", (Labeling,), {"url": store_url})
    examples = 12 if store_url.startswith("sqlite") else 5
    every = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    run_state_machine_as_test(machine, settings=every)
