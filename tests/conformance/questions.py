"""Random query strings: made after a grammar that knows where readers of numbers and escapes go wrong, or by
damaging known ones. Only bytes that a request line can carry."""

SENDABLE = [byte for byte in range(0x21, 0x100) if byte != 0x7F]

NAMES = [b"limit"] * 15 + [b"skip"] * 10 + [
    b"lim%69t", b"%6cimit", b"%6C%69%6D%69%74", b"s%6Bip", b"Limit",
    b"SKIP", b"limit+", b"+limit", b"limit%00", b"limit%20", b"lim\xeft", b"lim%C3%AFt", b"%ef%bb%bflimit", b"limi",
    b"limits", b"", b"other", b"%", b"lim%6", b"lim%6gt", b"limit[]", b"%25", b"skip%FF",
]
NUMBERS = [
    0, 1, 2, 9, 10, 99, 100, 101, 99998, 99999, 100000, 100001, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64,
    10**17, 10**18 - 1, 10**18, 10**19, 10**29 + 7,
]
DECIMALS = [b".", b".0", b".00", b".5", b".01", b".0_0", b"._0", b"..0", b".0.0", b"e3", b"E0", b".e0"]
ODDITIES = [
    b"", b"+", b"-", b"_", b".", b"%2B", b"%2b", b"%2D", b"+-1", b"--1", b"%2B%2B1", b"-%2B1", b"ten", b"null", b"None",
    b"true", b"inf", b"NaN", b"-inf", b"0x10", b"0b1", b"0o7", b"1,000", b"1/2", b"[1]", b"{}", b"1;2", b";", b"%26",
    b"%3D", b"=", b"%00", b"%0A", b"%0D%0A", b"%7F", b"%20", b"%09", b"%22", b"%5C", b"\"", b"\\", b"#", b"?", b"/",
    b"%1C", b"%1f", b"%C2%85", b"%C2%A0", b"%E2%80%83", b"%E2%80%8B", b"%E2%80%A8", b"%EF%BB%BF", b"\xa0", b"\x85",
    b"%D9%A1", b"%EF%BC%91", b"%E0%A5%A7", b"%F0%9D%9F%8F", b"\xb2", b"\xb9", b"%C2%B2", b"%F0%9F%98%80", b"\xff",
]
ESCAPES = [
    b"%", b"%4", b"%%", b"%zz", b"%4g", b"%%41", b"%4%41", b"%2%30", b"%C3", b"%C3%28", b"%C0%80", b"%C1%BF", b"%E0%80%80",
    b"%E2%82", b"%E2%28%A1", b"%ED%9F%BF", b"%ED%A0%80", b"%ED%BF%BF", b"%EF%BF%BD", b"%EF%BF%BF", b"%F0%80%80%80",
    b"%F0%9F", b"%F0%9F%98", b"%F4%8F%BF%BF", b"%F4%90%80%80", b"%F5%80", b"%F8%88", b"%FE%FF", b"%80", b"%BF%80",
    b"%E2\x82%AC", b"%E2%82\xac", b"\xe2\x82\xac", b"\xc3%A9", b"%C3\xa9", b"%\xe91", b"%3\xe91", b"\xe9%31", b"%e2%82%ac",
]


def number(random):
    """Digits as people, programs and mischief write them."""
    digits = str(random.choice(NUMBERS) if random.random() < 0.6 else random.randrange(10 ** random.randint(1, 25)))
    digits = "0" * random.choice([0, 0, 0, 1, 2, random.randint(0, 25)]) + digits
    if random.random() < 0.1:
        # about pydantic's bound of 4,300 bytes, or about the 19 where it changes its parser
        length = random.choice([4298, 4299, 4300, 4301, 4302, 17, 18, 19, 20])
        digits = (digits * length)[:length]
    characters = list(digits)
    for _ in range(random.choice([0, 0, 0, 1, 1, 2, 3, random.randint(0, 20)])):
        characters.insert(random.randint(0, len(characters)), "_")
    text = "".join(characters).encode()
    text = random.choice([b"", b"", b"", b"", b"-", b"%2B", b"+", b"%2b_", b"-_"]) + text
    if random.random() < 0.3:
        text += random.choice(DECIMALS)
    if random.random() < 0.1:
        text += b"." + b"0" * random.randint(0, 25)
    return text


def long_text(random):
    """Near 4,300 bytes once decoded, which is not its length as sent."""
    unit, size = random.choice([(b"1", 1), (b"%31", 1), (b"x", 1), (b"%C3%A9", 2), (b"\xe9", 2), (b"%FF", 3), (b"%00", 1),
                                (b"%E2%82%AC", 3), (b"%F0%9F%98%80", 4), (b"_", 1), (b"+", 1)])
    target = 4300 + random.randint(-3, 3)
    return unit * (target // size) + b"7" * (target % size)


def value(random):
    kind = random.random()
    if kind < 0.45:
        return number(random)
    if kind < 0.55:
        return random.choice(ODDITIES)
    if kind < 0.65:
        return random.choice(ODDITIES) + number(random) + random.choice([b"", random.choice(ODDITIES)])
    if kind < 0.8:
        return b"".join(random.choice([number(random)[:30], random.choice(ESCAPES), random.choice(ESCAPES),
                                       random.choice(ODDITIES)]) for _ in range(random.randint(1, 4)))
    if kind < 0.83:
        return long_text(random)
    return bytes(random.choice(SENDABLE) for _ in range(random.randint(0, 12)))


def escaped(random, text):
    """Some of the bytes written as %XX. A `%` too, so that what was an escape is none."""
    return b"".join(b"%%%02X" % byte if random.random() < 0.2 else bytes([byte]) for byte in text)


def made(random):
    pairs = []
    for _ in range(random.choice([0, 1, 1, 1, 2, 2, 3, 5])):
        name, text = random.choice(NAMES), value(random)
        if random.random() < 0.1:
            name = escaped(random, name)
        if random.random() < 0.15 and len(text) < 1000:
            text = escaped(random, text)
        pairs.append(random.choice([name + b"=" + text] * 8 + [name, name + text, name + b"==" + text, b"=" + text]))
    return random.choice([b"&"] * 6 + [b"&&", b";"]).join(pairs) + random.choice([b""] * 6 + [b"&"])


def damaged(random, queries):
    query = bytearray(random.choice(queries))
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(query))
        end = min(len(query), at + random.randint(0, 4))
        kind = random.random()
        if kind < 0.25:
            del query[at:end]
        elif kind < 0.5:
            query[at:at] = bytes([random.choice(SENDABLE)])
        elif kind < 0.7:
            query[at:end] = random.choice(ESCAPES + ODDITIES)
        elif kind < 0.85:
            query[at:at] = query[at:end] * random.randint(1, 4)
        else:
            other = random.choice(queries)
            query[at:] = other[random.randint(0, len(other)):]
    return bytes(query)


def questions(random, count, known):
    """count different query strings, a third of them made from the known ones."""
    seen = set()
    while len(seen) < count:
        query = damaged(random, known) if random.random() < 0.33 else made(random)
        if query in seen or not all(byte in SENDABLE for byte in query):
            continue
        seen.add(query)
        yield query
