"""What was measured: rows with the runs of each contestant, ratios, and what is wanted of them."""

import statistics
from concurrent.futures import ThreadPoolExecutor

from machine import MOST_SPREAD, disturbances, spread

SUBJECT = "memory-tracker"
MORE, LESS = "more is better", "less is better"


def divided(a, b):
    """a / b, where a slow contestant may have finished nothing."""
    return a / b if b else float(a > 0) * 1e9


class Row:
    """One comparison: the same thing measured with every contestant, in turn, over and over."""

    def __init__(self, case, what, unit, better, wanted=None, subject=SUBJECT, most_spread=MOST_SPREAD,
                 is_timed=True):
        """wanted: {contestant, or None for the figure itself: bound of the ratio to it}.

        is_timed: who else uses the machine has a say in it, unlike in sizes.
        """
        self.case = case
        self.subject = subject
        self.what = what
        self.unit = unit
        self.better = better
        self.wanted = wanted or {}
        self.most_spread = most_spread
        self.is_timed = is_timed
        self.runs = {}
        self.stolen = self.others = 0.0
        self.notes = []

    def add(self, contestant, value):
        self.runs.setdefault(contestant, []).append(value)

    def median(self, contestant=None):
        return statistics.median(self.runs[contestant or self.subject])

    def ratio(self, against):
        """The subject's figure as a multiple of another's: the median over the rounds."""
        ours, theirs = self.runs[self.subject], self.runs[against]
        if len(ours) == len(theirs):
            return statistics.median(divided(a, b) for a, b in zip(ours, theirs))
        return divided(self.median(), self.median(against))

    def is_met(self, against):
        figure = self.median() if against is None else self.ratio(against)
        bound = self.wanted[against]
        return figure >= bound if self.better == MORE else figure <= bound

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

    def noise(self):
        """Why this row cannot be called good, as texts."""
        found = disturbances(self.stolen, self.others) if self.is_timed else []
        for name, values in self.runs.items():
            if name == self.subject and len(values) > 1 and spread(values) > self.most_spread:
                found.append(f"the runs of {name} lie {spread(values):.0%} apart")
        return found

    def as_json(self):
        contestants = {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": values}
            for name, values in self.runs.items()
        }
        ratios = []
        for name in self.runs if self.subject in self.runs else ():
            if name != self.subject:
                ratios.append({"against": name, "value": self.ratio(name)})
        return {
            "case": self.case, "what": self.what, "unit": self.unit, "better": self.better,
            "subject": self.subject,
            "contestants": contestants, "ratios": ratios,
            "wanted": [
                {"against": against, "bound": self.wanted[against], "met": met}
                for against, met in self.verdicts().items()
            ],
            "missing": self.missing(), "noise": self.noise(), "notes": self.notes,
        }


def interleave(bench, contestants, rounds, rows):
    """Measures A B A B; a round in which somebody disturbed the machine is done again, for a while.

    contestants: {name: function that measures once and returns {row's name: figure}}; rows: {name: Row}.
    """
    spare = rounds
    done = 0
    while done < rounds:
        bench.watch.begin()
        if bench.options.quick:
            # nobody looks at the figures
            with ThreadPoolExecutor() as pool:
                figures = dict(zip(contestants, pool.map(lambda measure: measure(), contestants.values())))
        else:
            figures = {name: measure() for name, measure in contestants.items()}
        stolen, others = bench.watch.end()
        if disturbances(stolen, others) and spare > 0 and not bench.watch.assumed:
            spare -= 1
            continue
        for name, measured in figures.items():
            for key, row in rows.items():
                row.add(name, measured[key])
        for row in rows.values():
            row.disturb(stolen, others)
        done += 1
