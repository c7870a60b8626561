"""What was measured: rows with the runs of each contestant, ratios, and what is wanted of them."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from machine import MOST_DOUBT, MOST_SPREAD, disturbances, middle, spread

SUBJECT = "memory-tracker"
MORE, LESS = "more is better", "less is better"


class Asked(NamedTuple):
    """What a server gave that was asked as fast as it answers."""

    rate: float    # answers a second
    cpu_us: float  # CPU time of the server an answer
    server: float  # share of its CPU that the server used
    client: float  # share of its CPU that who asks used


def together(turns):
    """Several that took the same time, as one."""
    answers = sum(turn.rate for turn in turns)
    return Asked(answers / len(turns), divided(sum(turn.cpu_us * turn.rate for turn in turns), answers),
                 statistics.mean(turn.server for turn in turns), statistics.mean(turn.client for turn in turns))


def divided(a, b):
    """a / b, where a slow contestant may have finished nothing."""
    return a / b if b else float(a > 0) * 1e9


class Row:
    """One comparison: the same thing measured with every contestant, in turn, over and over."""

    def __init__(self, case, what, unit, better, wanted=None, subject=SUBJECT, most_spread=MOST_SPREAD,
                 is_timed=True, aim=None):
        """wanted: {contestant, or None for the figure itself: bound of the ratio to it}.

        is_timed: who else uses the machine has a say in it, unlike in sizes. aim: a bound of the
        figure that is told, but not part of what is wanted.
        """
        self.case = case
        self.subject = subject
        self.what = what
        self.unit = unit
        self.better = better
        self.wanted = wanted or {}
        self.most_spread = most_spread
        self.is_timed = is_timed
        self.aim = aim
        self.runs = {}
        self.busy = {}
        self.stolen = self.others = 0.0
        self.notes = []

    def add(self, contestant, value):
        if isinstance(value, Asked):
            self.busy.setdefault(contestant, []).append((value.server, value.client))
            value = value.rate
        self.runs.setdefault(contestant, []).append(value)

    def median(self, contestant=None):
        return statistics.median(self.runs[contestant or self.subject])

    def shares(self, contestant):
        """(of the server's CPU, of the CPU of who asks) that were used, medians; None: nobody looked."""
        if contestant not in self.busy:
            return None
        return tuple(statistics.median(shares) for shares in zip(*self.busy[contestant]))

    def ratios(self, against):
        """The subject's figure as a multiple of another's, of each round; against None: the figure."""
        ours = self.runs[self.subject]
        if against is None:
            return ours
        theirs = self.runs[against]
        if len(ours) == len(theirs):
            return [divided(a, b) for a, b in zip(ours, theirs)]
        return [divided(self.median(), self.median(against))]

    def ratio(self, against):
        """The median over the rounds."""
        return statistics.median(self.ratios(against))

    def meets(self, figure, bound):
        return figure >= bound if self.better == MORE else figure <= bound

    def is_met(self, against):
        return self.meets(self.ratio(against), self.wanted[against])

    def rounds_met(self, against):
        """(in how many rounds it was met, how many there were)"""
        found = [self.meets(one, self.wanted[against]) for one in self.ratios(against)]
        return sum(found), len(found)

    def verdicts(self):
        """{contestant or None: whether what is wanted is there} of those that were measured."""
        if self.subject not in self.runs:
            return {}
        return {against: self.is_met(against) for against in self.wanted
                if against is None or against in self.runs}

    def missing(self):
        """Contestants that something is wanted against and that did not run."""
        return [name for name in self.wanted if name is not None and name not in self.runs]

    def disturb(self, stolen, others):
        """So many cores were somebody else's while this was measured."""
        self.stolen = max(self.stolen, stolen)
        self.others = max(self.others, others)

    def is_doubtful(self, against):
        """The rounds contradict each other, and lie too far apart for their median to decide."""
        ratios = self.ratios(against)
        verdicts = {self.meets(one, self.wanted[against]) for one in middle(ratios)}
        return len(verdicts) > 1 and spread(ratios) > MOST_DOUBT

    def noise(self):
        """Why this row cannot be called good, as texts."""
        found = disturbances(self.stolen, self.others) if self.is_timed else []
        verdicts = self.verdicts()
        for against in verdicts:
            if self.is_doubtful(against):
                met, rounds = self.rounds_met(against)
                found.append(f"what is wanted was met in {met} of {rounds} rounds, which lie"
                             f" {spread(self.ratios(against)):.0%} apart")
        values = self.runs.get(self.subject, [])
        if not verdicts and len(values) > 1 and spread(values) > self.most_spread:
            found.append(f"the runs of {self.subject} lie {spread(values):.0%} apart")
        return found

    def as_json(self):
        contestants = {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values,
                   "busy": self.shares(name)}
            for name, values in self.runs.items()
        }
        ratios = []
        for name in self.runs if self.subject in self.runs else ():
            if name != self.subject:
                found = self.ratios(name)
                ratios.append({"against": name, "value": self.ratio(name), "min": min(found), "max": max(found)})
        wanted = []
        for against, met in self.verdicts().items():
            met_in, rounds = self.rounds_met(against)
            wanted.append({"against": against, "bound": self.wanted[against], "met": met,
                           "rounds": rounds, "rounds_met": met_in})
        return {
            "case": self.case, "what": self.what, "unit": self.unit, "better": self.better,
            "subject": self.subject, "contestants": contestants, "ratios": ratios, "wanted": wanted,
            "aim": self.aim, "missing": self.missing(), "noise": self.noise(), "notes": self.notes,
            "stolen": self.stolen, "others": self.others, "is_timed": self.is_timed,
        }


class Quiet:
    """Measures; what somebody disturbed anew, while there are spare times. Which count does not depend
    on what was measured."""

    def __init__(self, bench, spare):
        self.bench = bench
        self.spare = spare
        self.disturbances = []  # (stolen, used by others), in cores, of what was kept

    def measure(self, function, *arguments):
        while True:
            self.bench.watch.begin()
            found = function(*arguments)
            disturbance = self.bench.watch.end()
            if not disturbances(*disturbance) or self.spare == 0 or self.bench.watch.assumed:
                self.disturbances.append(disturbance)
                return found
            self.spare -= 1


def worst(disturbances_of):
    """{contestant: [(stolen, used by others), each of a turn of the same time]}: those of who was
    disturbed most."""
    return tuple(max(statistics.mean(one[kind] for one in turns) for turns in disturbances_of.values())
                 for kind in (0, 1))


def add_all(rows, found, disturbance):
    """found: [(contestant, {row's name: figure or Asked, or a list of them})] of a round; rows: {name: Row}."""
    for name, measured in found:
        for key, figure in measured.items():
            rows[key].add(name, figure)
    for row in rows.values():
        row.disturb(*disturbance)


def interleave(bench, contestants, rounds, rows):
    """Measures A B A B. contestants: {name: function that measures once, as of add_all()}."""
    def all_once():
        if not bench.options.quick:
            return [(name, measure()) for name, measure in contestants.items()]
        # nobody looks at the figures
        with ThreadPoolExecutor() as pool:
            return list(zip(contestants, pool.map(lambda measure: measure(), contestants.values())))

    in_batches(bench, all_once, rounds, rows)


def in_batches(bench, measure, batches, rows):
    """Calls measure(), which returns what add_all() takes, so many times."""
    quiet = Quiet(bench, batches)
    for _ in range(batches):
        found = quiet.measure(measure)
        add_all(rows, found, quiet.disturbances[-1])
