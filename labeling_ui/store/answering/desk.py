"""What the labeling page asks of the store: tasks to show, taking an answer or taking it back, and what is shown next.

An answer, or taking one back, and what follows it are one transaction. Apart, they would wait for the other writers
twice, sync the disk twice, and read the same settings four times. Answers that wait for the same writer are one
transaction as well, so that the more of them wait, the less each costs. If anything goes wrong in it, each is taken
alone: nobody's answer is lost, or refused, for another's.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from labeling_ui.data_model import Assignment, Judgement
from labeling_ui.store.answering.at_work import at_work
from labeling_ui.store.campaign_rules.limits import people_of
from labeling_ui.store.campaign_rules.qualification import Feedback, feedback_on
from labeling_ui.store.campaigns import Campaigns, read_campaigns
from labeling_ui.store.database import Database
from labeling_ui.store.judgements import Outcome, record_judgements, withdraw_newest
from labeling_ui.store.leases import hand_out
from labeling_ui.store.progress import Progress, annotator_progress

log = logging.getLogger(__name__)

TOGETHER = 10
"""So many answers are one transaction at most: the first of them waits for the last."""


@dataclass(frozen=True, slots=True)
class Following:
    """What an annotator is shown after an answer; `feedback` is for one of a qualification round."""

    progress: Progress
    assignments: Sequence[Assignment]
    feedback: Feedback | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an answer, which is on the disk, and what follows; None where that could not be found."""

    saved: Outcome
    following: Following | None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The task whose answer was withdrawn, with that answer as `previous`; None if there was nothing to withdraw."""

    withdrawn: Assignment | None
    progress: Progress
    assignments: Sequence[Assignment]


@dataclass(eq=False, slots=True)
class _Waiting:
    """An answer that waits for its turn; `alone`: those that it was taken with could not be taken together."""

    judgement: Judgement
    count: int
    taken: Taken | None = None
    error: Exception | None = None
    alone: bool = False

    @property
    def waits(self) -> bool:
        """Whether nobody has tried yet."""
        return self.taken is None and self.error is None and not self.alone


class Desk:
    """The labeling page's side of a store; for any number of threads."""

    def __init__(self, database: Database, clock: Callable[[], float], time: Callable[[], str]) -> None:
        """`clock` tells the seconds since 1970, `time` the same as it is written down."""
        self._database, self._clock, self._time = database, clock, time
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()

    def deal(self, annotator_id: str, count: int) -> list[Assignment]:
        """The annotator's tasks, topped up to `count`: see `leases.hand_out`."""
        with self._database.write() as connection:
            campaigns, people, now = read_campaigns(connection), people_of(connection), self._clock()
            who = at_work(connection, annotator_id, campaigns, people, now)
            return hand_out(connection, who, campaigns, count, now, self._time())

    def progress(self, annotator_id: str) -> Progress:
        """What the annotator has judged, and what is still open to them."""
        with self._database.read() as connection:
            campaigns, people, now = read_campaigns(connection), people_of(connection), self._clock()
            who = at_work(connection, annotator_id, campaigns, people, now)
            return annotator_progress(connection, who, campaigns, now)

    def take(self, judgement: Judgement, count: int) -> Taken:
        """Record a judgement, which has a key, and top its author's tasks up to `count`; committed before this returns.

        `UserError` if the judgement is impossible. What comes after it never keeps it from being saved: if that fails,
        the judgement is recorded without, and its key tells whether it was already.
        """
        mine = _Waiting(judgement, count)
        self._waiting.append(mine)
        with self._turn:
            while mine.waits:
                group = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                if group == [mine]:
                    mine.alone = True
                else:
                    self._take_together(group)
            if mine.alone:
                return self._take_alone(mine)
        if mine.error is not None:
            raise mine.error
        assert mine.taken is not None
        return mine.taken

    def take_back(self, annotator_id: str, key: str, count: int) -> TakenBack:
        """Withdraw the annotator's newest judgement, and top their tasks up to `count`, the withdrawn one among them.

        The same key again withdraws nothing more.
        """
        with self._database.write() as connection:
            campaigns, people, now = read_campaigns(connection), people_of(connection), self._clock()
            withdrawn = withdraw_newest(connection, annotator_id, key, campaigns, now, self._time())
            who = at_work(connection, annotator_id, campaigns, people, now)
            how_far = annotator_progress(connection, who, campaigns, now)
            return TakenBack(withdrawn, how_far, hand_out(connection, who, campaigns, count, now, self._time()))

    def _take_together(self, group: Sequence[_Waiting]) -> None:
        begun = False
        try:
            with self._database.write() as connection:
                begun = True
                campaigns, saved = self._record(connection, group)
                people = people_of(connection)
                following = [self._following(connection, each, campaigns, people) for each in group]
            for each, outcome, then in zip(group, saved, following, strict=True):
                each.taken = Taken(outcome, then)
        except Exception as error:
            log.info("%d answers could not be taken together: %s", len(group), error)
            for each in group:
                each.error, each.alone = (None, True) if begun else (error, False)

    def _take_alone(self, mine: _Waiting) -> Taken:
        saved = None
        try:
            with self._database.write() as connection:
                campaigns, saved = self._record(connection, [mine])
                return Taken(saved[0], self._following(connection, mine, campaigns, people_of(connection)))
        except Exception as error:
            if saved is None:
                raise
            log.error("an answer is recorded without what follows, which could not be found: %s", error)
        with self._database.write() as connection:
            return Taken(self._record(connection, [mine])[1][0], None)

    def _record(self, connection: sa.Connection, group: Sequence[_Waiting]) -> tuple[Campaigns, list[Outcome]]:
        campaigns, given = read_campaigns(connection), [each.judgement for each in group]
        return campaigns, record_judgements(connection, given, campaigns, self._clock(), self._time(), on_page=True)

    def _following(
        self, connection: sa.Connection, each: _Waiting, campaigns: Campaigns, people: Mapping[str, set[str]]
    ) -> Following:
        annotator_id, settings, now = each.judgement.annotator_id, campaigns.settings, self._clock()
        told = None
        if any(one.qualification for one in settings.values()):
            told = feedback_on(connection, settings, each.judgement.task_id, annotator_id)
        who = at_work(connection, annotator_id, campaigns, people, now)
        how_far = annotator_progress(connection, who, campaigns, now)
        return Following(how_far, hand_out(connection, who, campaigns, each.count, now, self._time()), told)
