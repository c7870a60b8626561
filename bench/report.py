"""Rows as text for a terminal, as JSON, and as the table in docs/performance.md."""

import datetime
import re

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


def span(values, text):
    return f"{text(min(values))} to {text(max(values))}" if len(values) > 1 else ""


def what_is_wanted(bound, unit, better, against):
    word = "at least" if better == "more is better" else "at most"
    return f"{word} " + (f"{figure(bound)} {unit}" if against is None else f"{bound:.3g}")


def judged(row, against):
    """met or missed, and in how many rounds where these do not agree."""
    verdict = "met" if row.is_met(against) else "missed"
    met, rounds = row.rounds_met(against)
    if 0 < met < rounds:
        verdict += f" ({met} of {rounds} rounds met it)"
    return verdict


def aimed(row):
    """(what is aimed at, whether it is reached)."""
    return (f"aim: {what_is_wanted(row.aim, row.unit, row.better, None)}",
            "reached" if row.meets(row.median(), row.aim) else "not reached")


def lines_of(row):
    """{column: text} of each contestant."""
    verdicts = row.verdicts()
    for name in sorted(row.runs, key=lambda name: name != row.subject):
        values = row.runs[name]
        line = {"contestant": name, "median": figure(row.median(name)), "runs": span(values, figure),
                "ratio": "", "ratios": "", "wanted": "", "verdict": "", "busy": ""}
        if name != row.subject and row.subject in row.runs:
            line["ratio"] = multiple(row.ratio(name))
            line["ratios"] = span(row.ratios(name), multiple)
        key = None if name == row.subject else name
        if key in verdicts:
            line["wanted"] = what_is_wanted(row.wanted[key], row.unit, row.better, key)
            line["verdict"] = judged(row, key)
        elif key is None and row.aim is not None:
            line["wanted"], line["verdict"] = aimed(row)
        if row.shares(name):
            line["busy"] = " / ".join(f"{share:.0%}" for share in row.shares(name))
        yield line


def row_as_text(row):
    text = [f"{row.what} ({row.unit}, {row.better})"]
    for line in lines_of(row):
        ratio = f"x {line['ratio']} ({line['ratios'] or 'once'})" if line["ratio"] else ""
        busy = f"CPU {line['busy']}" if line["busy"] else ""
        wanted = f"wanted {line['wanted']}: {line['verdict']}" if line["wanted"] else ""
        text.append(f"    {line['contestant']:<28} {line['median']:>12}  {line['runs']:<24} {ratio:<26} {busy:<17}"
                    f" {wanted}".rstrip())
    text += [f"    note: {note}" for note in row.notes]
    text += [f"    noisy: {reason}" for reason in row.noise()]
    return "\n".join(text)


def verdicts_of(row):
    """(case, what and against what, wanted, found, runs, verdict) of all that is wanted of a row."""
    noisy = ", but noisy" if row.noise() else ""
    for against in row.verdicts():
        text = multiple if against else figure
        what = f"{row.what}, against {against}" if against else row.what
        yield (row.case, what, what_is_wanted(row.wanted[against], row.unit, row.better, against),
               text(row.ratio(against)) + ("" if against else f" {row.unit}"), span(row.ratios(against), text),
               judged(row, against) + noisy)
    if row.aim is not None and row.subject in row.runs:
        yield (row.case, row.what, aimed(row)[0], f"{figure(row.median())} {row.unit}",
               span(row.ratios(None), figure), aimed(row)[1] + noisy)
    for against in row.missing():
        yield (row.case, f"{row.what}, against {against}", what_is_wanted(row.wanted[against], row.unit, row.better,
                                                                          against), "", "", "not measured")


VERDICT_COLUMNS = ("case", "what", "wanted", "found", "from round to round", "verdict")


def verdict_as_text(rows):
    table = [VERDICT_COLUMNS, *(cells for row in rows for cells in verdicts_of(row))]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(VERDICT_COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in table)


def as_json(bench, facts, rows, failed, verdict, code):
    """facts: {name: anything} that belongs to the run as a whole."""
    return {
        **facts,
        "machine": {**facts["machine"], "server_cpu": bench.server_cpu, "load_cpu": bench.load_cpu},
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": bench.options.quick,
        "rows": [{**row.as_json(), "lines": list(lines_of(row)), "verdicts": list(verdicts_of(row))}
                 for row in rows],
        "failed": failed, "left_out": bench.left_out, "verdict": verdict, "exit_code": code,
    }


def machine_line(machine):
    virtual = ", a virtual machine" if machine["hypervisor"] else ""
    return (f"{machine['cpu']} ({machine['cpus']} CPUs{virtual}, {machine['memory_mib'] / 1024:.0f} GiB,"
            f" {machine['disk']}), {machine['system']}, Linux {machine['kernel']}; servers on CPU"
            f" {machine['server_cpu']}, who asks them on CPU {machine['load_cpu']}.")


def versions_line(whole):
    lines = ["Versions: " + ", ".join(f"{name} {version}" for name, version in whole["versions"].items()) + "."]
    lines += [f"Left out: {name}." for name in whole["left_out"]]
    lines += [f"The case {name} could not be measured: {reason}." for name, reason in whole["failed"].items()]
    return "\n".join(lines)


def table(columns, lines):
    """Markdown; columns: [(name, is it of figures)]."""
    text = ["| " + " | ".join(name for name, _ in columns) + " |",
            "|" + "|".join("---:" if is_figure else "---" for _, is_figure in columns) + "|"]
    return "\n".join(text + ["| " + " | ".join(cells) + " |" for cells in lines])


COLUMNS = {"contestant": ("contestant", False), "median": ("median", True), "runs": ("runs", False),
           "ratio": ("ours is, of it", True), "ratios": ("from round to round", False),
           "busy": ("CPU of server / who asks", False), "wanted": ("wanted", False), "verdict": ("", False)}


def section(case, rows, whole):
    """A case as Markdown."""
    lines = [line for row in rows for line in row["lines"]]
    used = [name for name in COLUMNS if any(line[name] for line in lines)]
    cells = []
    for row in rows:
        for number, line in enumerate(row["lines"]):
            what = f"{row['what']} ({row['unit']})" if number == 0 else ""
            cells.append([what, *(line[name] for name in used)])
    text = [f"### {case}, {whole['time'][:10]}", "",
            table([("what", False), *(COLUMNS[name] for name in used)], cells)]
    noise = [f"{row['what']}: {reason}" for row in rows for reason in row["noise"]]
    if noise:
        text[1:1] = ["", f"{NOISY}: " + "; ".join(noise) + "."]
    remarks = dict.fromkeys(note for row in rows for note in row["notes"])
    if any(row["is_timed"] for row in rows):
        remarks[f"in no round that counts were more than {max(row['stolen'] for row in rows):.2f} cores stolen by the"
                f" hypervisor or {max(row['others'] for row in rows):.2f} used by other programs"] = None
    if remarks:
        text += ["", "Notes: " + "; ".join(remarks) + "."]
    ours = whole["versions"].get("commit") or whole["versions"].get("memory-tracker", "")
    text += ["", f"Measured in {whole['took_s'].get(case, 0):,.0f} s at {ours}."]
    return "\n".join(text)


# how a section begins whose figures are not good ones
NOISY = "**Not a good run**"
SUMMARY = "### what is wanted"


def sections(whole):
    """{case: Markdown} of the cases that were measured."""
    rows = {}
    for row in whole["rows"]:
        rows.setdefault(row["case"], []).append(row)
    return {case: section(case, its, whole) for case, its in rows.items() if case not in whole["failed"]}


def summary(lines):
    """lines: {case: [the verdict's lines as Markdown]}."""
    head = table([(name, False) for name in VERDICT_COLUMNS], [])
    return "\n".join([SUMMARY, "", head, *(line for its in lines.values() for line in its)])


def parts_of(text):
    """({case: its section}, {case: [its lines of the verdict]}) of what a document has."""
    kept, lines = {}, {}
    for part in re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]:
        if part.startswith(SUMMARY):
            for line in part.splitlines()[4:]:
                if line.startswith("| "):
                    lines.setdefault(line.split(" | ")[0][2:], []).append(line)
        else:
            kept[re.match(r"### (\w+)", part).group(1)] = part.strip()
    return kept, lines


def write_document(path, whole, order):
    """Puts what was measured in the place of what the document says of these cases. What was measured
    with noise is marked so, and takes the place of nothing that was measured without.

    order: all cases. Figures of another machine do not stay beside those of this one. Returns the
    cases that were written.
    """
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, mark, after = rest.partition(END)
    assert mark, f"{path} lost its marks"
    head = machine_line(whole["machine"])
    kept, lines = parts_of(old) if head in old else ({}, {})
    written = []
    for case, made in sections(whole).items():
        if NOISY in made and case in kept and NOISY not in kept[case]:
            continue
        kept[case] = made
        lines[case] = ["| " + " | ".join(cells) + " |"
                       for row in whole["rows"] if row["case"] == case for cells in row["verdicts"]]
        written.append(case)
    body = "\n\n".join([head, versions_line(whole), summary({case: lines.get(case, []) for case in order}),
                        *(kept[case] for case in order if case in kept)])
    path.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    return written
