"""Rows as text for a terminal, as JSON, and as the table in docs/performance.md."""

import datetime
import re
import statistics

BEGIN = "<!-- made by script/bench --write-docs -->"
END = "<!-- end of what script/bench made -->"


def figure(value):
    """Three or four digits that say something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def multiple(value):
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def what_is_wanted(bound, unit, better, against):
    word = "at least" if better == "more is better" else "at most"
    return f"{word} {bound:.3g}" + (f" {unit}" if against is None else "")


def lines_of(row):
    """(contestant, median, range, our ratio to it, wanted, verdict) of each contestant, as texts."""
    verdicts = row.verdicts()
    for name, values in row.runs.items():
        ratio = "" if name == row.subject or row.subject not in row.runs else multiple(row.ratio(name))
        key = None if name == row.subject else name
        wanted = verdict = ""
        if key in verdicts:
            wanted = what_is_wanted(row.wanted[key], row.unit, row.better, key)
            verdict = "met" if verdicts[key] else "missed"
        spans = f"{figure(min(values))} to {figure(max(values))}" if len(values) > 1 else ""
        yield name, figure(statistics.median(values)), spans, ratio, wanted, verdict


def row_as_text(row):
    text = [f"{row.what} ({row.unit}, {row.better})"]
    for name, median, spans, ratio, wanted, verdict in lines_of(row):
        ratio = f"x {ratio}" if ratio else ""
        judged = f"wanted {wanted}: {verdict}" if wanted else ""
        text.append(f"    {name:<28} {median:>12}  {spans:<26} {ratio:<10} {judged}".rstrip())
    text += [f"    note: {note}" for note in row.notes]
    text += [f"    noisy: {reason}" for reason in row.noise()]
    return "\n".join(text)


def as_json(bench, machine, rows, failed, verdict, code):
    return {
        "machine": {**machine, "server_cpu": bench.server_cpu, "load_cpu": bench.load_cpu},
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": bench.options.quick,
        "rows": [{**row.as_json(), "lines": [list(line) for line in lines_of(row)]} for row in rows],
        "failed": failed, "left_out": bench.left_out, "verdict": verdict, "exit_code": code,
    }


def machine_line(machine):
    virtual = ", a virtual machine" if machine["hypervisor"] else ""
    return (f"{machine['cpu']} ({machine['cpus']} CPUs{virtual}, {machine['memory_mib'] / 1024:.0f} GiB),"
            f" {machine['system']}, Linux {machine['kernel']}; servers on CPU {machine['server_cpu']}, who asks them"
            f" on CPU {machine['load_cpu']}.")


def section(case, rows, day):
    """A case as Markdown."""
    text = [f"### {case}, {day}", "",
            "| what | contestant | median | runs | ours is, of it | wanted | |",
            "|---|---|---:|---|---:|---|---|"]
    for row in rows:
        for number, cells in enumerate(row["lines"]):
            name, median, *rest = cells
            what = f"{row['what']} ({row['unit']})" if number == 0 else ""
            text.append("| " + " | ".join([what, name, median, *rest]) + " |")
    notes = dict.fromkeys(note for row in rows for note in row["notes"])
    if notes:
        text += ["", "Notes: " + "; ".join(notes) + "."]
    return "\n".join(text)


def sections(whole):
    """{case: Markdown} of the cases that were measured without noise."""
    rows = {}
    for row in whole["rows"]:
        rows.setdefault(row["case"], []).append(row)
    return {case: section(case, its, whole["time"][:10]) for case, its in rows.items()
            if case not in whole["failed"] and not any(row["noise"] for row in its)}


def write_document(path, whole, order):
    """Puts what was measured without noise in the place of what the document says of these cases.

    order: all cases. Figures of another machine do not stay beside those of this one. Returns the
    cases that were written.
    """
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, mark, after = rest.partition(END)
    assert mark, f"{path} lost its marks"
    head = machine_line(whole["machine"])
    kept = {}
    if head in old:
        kept = {re.match(r"### (\w+)", part).group(1): part.strip()
                for part in re.split(r"^(?=### )", old, flags=re.MULTILINE)[1:]}
    made = sections(whole)
    kept.update(made)
    body = "\n\n".join([head, *(kept[case] for case in order if case in kept)])
    path.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    return list(made)
