#!/usr/bin/env python3
"""What does a request cost at Trigate's gate, beside what teams would use instead? `cargo xtask bench gate` runs this.

Every row starts its own processes, checks that a good credential passes and bad ones do not, warms up, measures with wrk,
and stops them, round by round, so that peers are measured in the same stretch of time. The gate, with whatever helps it,
has core 0 for itself; wrk and the API (nginx, 1 KB of JSON) share core 1. CPU is the scheduler's own count for all of the
gate's threads, helpers included, divided by requests: the steadiest figure on a machine with neighbours.
Trigate's rows have revocation checks on and one decision record per request, in the kernel's hands before the response.
Python's standard library alone."""

import argparse, glob, hashlib, itertools, json, os, pathlib, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
import urllib.error, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
GATE_CORE, LOAD_CORE = "0", "1"
BEARER, KEY = "Authorization: Bearer {}", "X-Api-Key: {}"


def log(*words):
    print(*words, file=sys.stderr, flush=True)


# --- machine -------------------------------------------------------------------------------------------------------------

def family(pid):
    children = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            text = open(stat).read()
        except OSError:
            continue
        children.setdefault(int(text[text.rindex(")") + 2:].split()[1]), []).append(int(stat.split("/")[2]))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pids):
    """Of all threads, by the scheduler's clock."""
    total = 0
    for pid in itertools.chain.from_iterable(family(pid) for pid in pids):
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                total += int(open(path).read().split()[0])
            except (OSError, IndexError):
                pass
    return total / 1e9


def memory_mib(pids):
    total = 0
    for pid in itertools.chain.from_iterable(family(pid) for pid in pids):
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
        except (OSError, TypeError):
            pass
    return total / 1024


def busy_seconds():
    """Of both cores, whoever it was."""
    total = 0
    for line in open("/proc/stat"):
        if re.match(r"cpu\d", line):
            ticks = list(map(int, line.split()[1:9]))
            total += sum(ticks) - ticks[3] - ticks[4]
    return total / os.sysconf("SC_CLK_TCK")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def get(url, header="", value=""):
    request = urllib.request.Request(url)
    if header and value:
        name, form = header.split(":", 1)
        request.add_header(name, form.strip().replace("{}", value))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


# --- the bench -----------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trigate-bench-"))
        self.folder.chmod(0o755)
        self.work = pathlib.Path(options.work)
        self.running = []
        self.rows = {}
        self.make_credentials()
        made = json.loads((self.work / "made").read_text())
        self.upstream_port = free_ports(1)[0]
        self.words = dict(DIR=self.folder, WORK=self.work, HERE=HERE, UPSTREAM=self.upstream_port, ISSUER=made["issuer"],
                          AUDIENCE=made["audience"], BODY=(self.work / "body.json").read_text())
        self.upstream = self.start(["/usr/sbin/nginx", "-c", self.conf("upstream.nginx")], LOAD_CORE, self.upstream_port)

    def make_credentials(self):
        """Kept between runs for some hours: signing the tokens that are seen once takes a minute or two."""
        wanted = [str(self.options.tokens), str(self.options.fresh), str(self.options.keys)]
        try:
            made, same = json.loads((self.work / "made").read_text()), (self.work / "wanted").read_text() == " ".join(wanted)
            if same and made["at"] > time.time() - 4 * 3600:
                return
        except (OSError, ValueError):
            pass
        log("making keys and tokens …")
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        make = lambda part: subprocess.Popen(["node", HERE / "make.mjs", self.work, *wanted, str(part), "2"])
        for parts in ([0], [1, 2]):
            if any(one.wait() for one in [make(part) for part in parts]):
                sys.exit("the keys and tokens could not be made")
        for name in ("rs256", "es256"):
            parts = [self.work / f"{name}.fresh.{part}" for part in (1, 2)]
            (self.work / f"{name}.fresh").write_text("".join(part.read_text() for part in parts))
        (self.work / "wanted").write_text(" ".join(wanted))

    def conf(self, name, **more):
        words = {**self.words, **more}

        def fill(text):
            text = re.sub(r"@INC ([\w.-]+)@", lambda found: fill((HERE / "conf" / found[1]).read_text()), text)
            return re.sub(r"@([A-Z]+)@", lambda found: str(words[found[1]]), text)

        path = self.folder / name
        path.write_text(fill((HERE / "conf" / name).read_text()))
        return str(path)

    def start(self, command, core, port):
        out = open(self.folder / "out.log", "ab")
        process = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdout=out, stderr=out,
                                   start_new_session=True, preexec_fn=self.first_in_line)
        self.running.append(process)
        for _ in range(1200):
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{command[0]} does not listen: " + (self.folder / "out.log").read_text()[-2000:])

    def first_in_line(self):
        if self.options.nice:
            os.nice(self.options.nice)

    def stop(self, process):
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                try:
                    os.killpg(process.pid, sign)
                    process.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
        if process in self.running:
            self.running.remove(process)

    def end(self):
        for process in list(self.running):
            self.stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- who is measured ---

    def nginx(self, conf, helper=None, **words):
        def start():
            port = free_ports(1)[0]
            parts, more = [], dict(words)
            if helper:
                parts, more = helper()
                more = {**words, **more}
            return parts + [self.start(["/usr/sbin/nginx", "-c", self.conf(conf, PORT=port, **more)], GATE_CORE, port)], port
        return start

    def haproxy(self, conf, **words):
        def start():
            port = free_ports(1)[0]
            return [self.start(["/usr/sbin/haproxy", "-db", "-q", "-f", self.conf(conf, PORT=port, **words)], GATE_CORE, port)], port
        return start

    def constant(self):
        port = free_ports(1)[0]
        return [self.start(["/usr/sbin/nginx", "-c", self.conf("constant.conf", AUTH=port)], GATE_CORE, port)], dict(
            AUTH=port, ASK="", ASKPATH="", USER="x_user")

    def forward_auth(self):
        """nginx asks Trigate; both are on the gate's core."""
        port = free_ports(1)[0]
        extra = f'\n[forward_auth]\nlisten = "127.0.0.1:{port}"\nproxies = ["127.0.0.1/32"]\n'
        parts, _ = self.trigate(extra)()
        ask = ("proxy_set_header X-Original-Method $request_method; proxy_set_header X-Original-URI $request_uri; "
               "proxy_set_header X-Original-Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")
        return parts, dict(AUTH=port, ASK=ask, ASKPATH="/forward-auth/nginx", USER="x_trigate_user")

    def data_folder(self):
        """One store with an application and all keys, made once and copied for each start."""
        made = self.folder / "store"
        if not made.exists():
            ports = free_ports(3)
            verb = lambda *words: subprocess.run([self.options.trigate, "--data", made, *words], check=True, capture_output=True)
            verb("init")
            self.configure(made, ports, "")
            verb("app", "create", "Bench", "--id", "app_bench", "--plan", "bench")
            verb("key", "import", "--app", "app_bench", "--plain", "--file", self.work / "keys")
        return made

    def configure(self, folder, ports, extra):
        gate, issuer, desk = ports
        text = self.conf("trigate.toml", PORT=gate, ISSUERPORT=issuer, DESKPORT=desk, APP="app_bench", EXTRA="")
        (folder / "trigate.toml").write_text(pathlib.Path(text).read_text() + extra)

    def trigate(self, extra=""):
        def start():
            ports = free_ports(3)
            folder = self.folder / f"trigate-{ports[0]}"
            shutil.copytree(self.data_folder(), folder)
            self.configure(folder, ports, extra)
            process = self.start([self.options.trigate, "--data", folder, "serve"], GATE_CORE, ports[0])
            return [process], ports[0]
        return start

    def plan(self):
        """Row by row: (work, who, start, path, header, file, lines, what must be refused, whether requests are let in)."""
        work, warm, fresh = self.work, self.options.tokens, self.options.fresh
        tokens, bad = work / "rs256.tokens", work / "rs256.must-refuse"
        keys, bad_keys = work / "keys", work / "keys.must-refuse"
        jwt = lambda name: self.haproxy("haproxy-jwt.cfg", ALG=name.upper(), KEY=name)
        lua = self.nginx("nginx-lua.conf", CACHE=4 * warm)
        rows = []

        def row(work, who, start, path="/", header="", file=None, lines=1, refuse=None, let_in=True):
            rows.append((work, who, start, path, header, file, lines, refuse, let_in))

        row("plain proxy", "nginx", self.nginx("nginx-plain.conf"))
        row("plain proxy", "trigate", self.trigate(), "/public/")
        row("RS256, 10,000 tokens in rotation", "haproxy", jwt("rs256"), "/", BEARER, tokens, warm, bad)
        row("RS256, 10,000 tokens in rotation", "nginx-lua, all cached", lua, "/", BEARER, tokens, warm, bad)
        row("RS256, 10,000 tokens in rotation", "trigate", self.trigate(), "/token/", BEARER, tokens, warm, bad)
        row("RS256, each seen for the first time", "haproxy", jwt("rs256"), "/", BEARER, work / "rs256.fresh", fresh)
        row("RS256, each seen for the first time", "trigate", self.trigate(), "/token/", BEARER, work / "rs256.fresh", fresh)
        row("ES256, each seen for the first time", "haproxy", jwt("es256"), "/", BEARER, work / "es256.fresh", fresh)
        row("ES256, each seen for the first time", "trigate", self.trigate(), "/token/", BEARER, work / "es256.fresh", fresh)
        row("API key of 100,000, limit", "haproxy map, stick table", self.haproxy("haproxy-key.cfg"), "/", KEY, keys, 10000, bad_keys)
        row("API key of 100,000, limit", "nginx map, limit_req", self.nginx("nginx-key.conf"), "/", KEY, keys, 10000, bad_keys)
        row("API key of 100,000, limit", "trigate", self.trigate(), "/key/", KEY, keys, 10000, bad_keys)
        row("forward-auth behind nginx", "nginx, constant 200", self.nginx("nginx-ask.conf", self.constant), "/token/", BEARER, tokens, warm)
        row("forward-auth behind nginx", "trigate", self.nginx("nginx-ask.conf", self.forward_auth), "/token/", BEARER, tokens, warm, bad)
        row("refused: expired", "trigate", self.trigate(), "/token/", BEARER, work / "rs256.expired", warm, None, False)
        row("refused: bad signature", "trigate", self.trigate(), "/token/", BEARER, work / "rs256.bad", warm, None, False)
        wanted = re.compile(self.options.only)
        return [one for one in rows if wanted.search(f"{one[0]} / {one[1]}")]

    # --- measuring ---

    def check(self, name, url, header, file, refuse, let_in):
        good = open(file).readline().strip() if file else ""
        status, body = get(url, header, good)
        if (status == 200 and len(body) > 900) != let_in:
            raise RuntimeError(f"{name}: the first request was answered {status}")
        for bad in refuse.read_text().split("\n")[:-1] if refuse else []:
            status, _ = get(url, header, bad)
            if status not in (401, 403):
                log(f"   !! {name}: not refused ({status}): {bad[:60]}")

    def wrk(self, url, seconds, file, first, lines, header, pause=0):
        command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{self.options.connections}", f"-d{seconds}s", "--timeout", "20s",
                   "-s", HERE / "load.lua", url, "--", file or "-", first, lines, header, pause]
        # wrk was seen to hang in its script: better no figure than a machine that is busy for good.
        said = subprocess.run(list(map(str, command)), capture_output=True, text=True, preexec_fn=self.first_in_line,
                              timeout=seconds + 60)
        found = re.search(r"^RESULT (.*)$", said.stdout, re.M)
        if not found:
            raise RuntimeError("wrk: " + said.stdout + said.stderr)
        return json.loads(found[1])

    def measure(self, row, first_round):
        work, who, start, path, header, file, lines, refuse, let_in = row
        name = f"{work} / {who}"
        processes, port = start()
        try:
            url = f"http://127.0.0.1:{port}{path}"
            if first_round:
                self.check(name, url, header, file, refuse, let_in)
            # The tokens of the warm-up are not those of the measurement where each is to be seen once.
            once = lines == self.options.fresh
            skip = lines // 20 if once else 0
            self.wrk(url, self.options.warm, file, 0, skip or lines, header)
            pids = [process.pid for process in processes]
            busy, own, before = busy_seconds(), cpu_seconds(pids), os.times()
            api, clock = cpu_seconds([self.upstream.pid]), time.monotonic()
            result = self.wrk(url, self.options.seconds, file, skip, lines - skip, header)
            own, api = cpu_seconds(pids) - own, cpu_seconds([self.upstream.pid]) - api
            after, wall = os.times(), time.monotonic() - clock
            load = after.children_user + after.children_system - before.children_user - before.children_system
            foreign = max(0.0, busy_seconds() - busy - own - api - load) / wall
            seconds = result["us"] / 1e6
            one = dict(rps=result["requests"] / seconds, us=own / result["requests"] * 1e6, p50=result["p50"], p99=result["p99"],
                       mib=memory_mib(pids), refused=result["refused"], broken=result["broken"], foreign=foreign)
            if once and result["requests"] > lines - skip:
                log(f"   !! {name}: {result['requests']} requests, {lines - skip} tokens: some were seen twice")
            if let_in and (result["refused"] or result["broken"]):
                log(f"   !! {name}: {result['refused']} refused, {result['broken']} broken")
            self.rows.setdefault((work, who), []).append(one)
            log(f"   {name:62} {one['rps']:8.0f}/s {one['us']:6.1f} us  p50 {one['p50']:6.0f}  p99 {one['p99']:6.0f} us "
                f"{one['mib']:6.1f} MiB  foreign {foreign:.0%}")
        finally:
            for process in reversed(processes):
                self.stop(process)

    def latency(self):
        """What the gate adds at about half of its own full load, against the API asked directly at the same rate, and what
        nginx adds that proxies and checks nothing. Each of the connections rests at random between its requests: they do
        not come in bursts, as a timer would send them."""
        full = [one["rps"] for one in self.rows.get(("RS256, 10,000 tokens in rotation", "trigate"), [])]
        if not full:
            return None
        pause = max(1, round(2 * self.options.connections / statistics.median(full) * 1000))
        tokens, warm = self.work / "rs256.tokens", self.options.tokens
        ask = lambda url, seconds: self.wrk(url, seconds, tokens, 0, warm, BEARER, pause)
        rounds = {"nginx, plain proxy": [], "trigate": []}
        for _ in range(self.options.rounds):
            direct = ask(f"http://127.0.0.1:{self.upstream_port}/", self.options.seconds)
            for who, start, path in (("nginx, plain proxy", self.nginx("nginx-plain.conf"), "/"), ("trigate", self.trigate(), "/token/")):
                processes, port = start()
                try:
                    url = f"http://127.0.0.1:{port}{path}"
                    self.wrk(url, self.options.warm, tokens, 0, warm, BEARER)
                    through = ask(url, self.options.seconds)
                    one = {name: through[name] - direct[name] for name in ("p50", "p99")}
                    one["rate"] = through["requests"] / through["us"] * 1e6
                    rounds[who].append(one)
                    log(f"   added latency at {one['rate']:.0f}/s, {who}: p50 {one['p50']} us, p99 {one['p99']} us")
                finally:
                    for process in processes:
                        self.stop(process)
        median = lambda who: {name: statistics.median(one[name] for one in rounds[who]) for name in ("rate", "p50", "p99")}
        return {who: median(who) for who in rounds}

    def memory(self):
        """What an idle gate holds: with nothing, with a million keys, with ten million revoked tokens; and how soon it is
        there with those."""
        rows = {"nothing": self.held(self.bare_folder("idle"))}
        log("making a million keys …")
        folder, keys = self.bare_folder("keys"), self.folder / "million"
        keys.write_bytes(b"".join(b"bench-" + os.urandom(18).hex().encode() + b"\n" for _ in range(1_000_000)))
        subprocess.run([self.options.trigate, "--data", folder, "key", "import", "--app", "app_bench", "--plain", "--file", keys],
                       check=True, capture_output=True)
        rows["1,000,000 API keys"] = self.held(folder)
        shutil.rmtree(folder)
        folder = self.bare_folder("revoked")
        # Once without, for the header of the file in which it keeps revoked tokens.
        self.held(folder)
        revoke_ten_million(folder / "revoked-tokens.kept")
        rows["10,000,000 revoked tokens"] = self.held(folder)
        shutil.rmtree(folder)
        return rows

    def bare_folder(self, name):
        folder = self.folder / name
        verb = lambda *words: subprocess.run([self.options.trigate, "--data", folder, *words], check=True, capture_output=True)
        verb("init")
        self.configure(folder, free_ports(3), "")
        verb("app", "create", "Bench", "--id", "app_bench", "--plan", "bench")
        return folder

    def held(self, folder):
        """(MiB two seconds after its first answer, seconds until that)"""
        ports = free_ports(3)
        self.configure(folder, ports, "")
        begun = time.monotonic()
        process = self.start([self.options.trigate, "--data", folder, "serve"], GATE_CORE, ports[0])
        try:
            # It listens before it knows everything, and answers when it does.
            if get(f"http://127.0.0.1:{ports[0]}/public/")[0] != 200:
                raise RuntimeError("the gate does not answer")
            ready = time.monotonic() - begun
            time.sleep(2)
            held = memory_mib([process.pid]), ready
            log(f"   memory: {held[0]:.0f} MiB, ready after {held[1]:.1f} s")
            return held
        finally:
            self.stop(process)

    def run(self):
        plan = self.plan()
        for number in range(self.options.rounds):
            log(f"round {number + 1} of {self.options.rounds}")
            for row in plan if number % 2 == 0 else plan[::-1]:
                self.measure(row, number == 0)
        return {"rows": [self.summary(row) for row in plan], "latency": self.latency(), "memory": self.memory(), "rounds": self.options.rounds,
                "seconds": self.options.seconds}

    def summary(self, row):
        work, who = row[:2]
        rounds = self.rows[(work, who)]
        middle = lambda name: statistics.median(one[name] for one in rounds)
        return dict(work=work, who=who, **{name: middle(name) for name in ("rps", "us", "p50", "p99", "mib")},
                    foreign=max(one["foreign"] for one in rounds))


def revoke_ten_million(kept):
    """Puts random ids into the file in which a gate keeps revoked tokens: its own header, and chained as it reads them."""
    old = kept.read_bytes()
    header = old[12:12 + int.from_bytes(old[8:12], "little")]
    link, length = hashlib.sha256(b"trigate audit chain 1\0revoked tokens").digest(), 0

    def chain(entry):
        nonlocal link, length
        link = hashlib.sha256(link + length.to_bytes(8, "big") + len(entry).to_bytes(8, "big") + entry).digest()
        length += 1

    chain(header)
    over = (int(time.time()) // 3600 + 24).to_bytes(4, "little")
    each = 1_000_000
    with open(kept, "wb") as out:
        out.write(old[:12] + header)
        for _ in range(10):
            ids, group = os.urandom(16 * each), bytearray(20 * each)
            for at in range(16):
                group[at::20] = ids[at::16]
            for at in range(4):
                group[16 + at::20] = over[at:at + 1] * each
            chain(bytes(group))
            out.write(each.to_bytes(4, "little") + group + link)
        out.write((0xffffffff).to_bytes(4, "little") + link)


# --- what is printed -----------------------------------------------------------------------------------------------------

def find(results, work, who="trigate"):
    return next((row for row in results["rows"] if row["work"] == work and row["who"].startswith(who)), None)


# (work, peer, what is compared, aim); ratios of requests: more is better; of CPU: less is better.
AIMS = [
    ("plain proxy", "nginx", "us", 1.3),
    ("RS256, 10,000 tokens in rotation", "haproxy", "rps", 3.5),
    ("RS256, 10,000 tokens in rotation", "nginx-lua", "rps", 0.85),
    ("RS256, each seen for the first time", "haproxy", "rps", 1.7),
    ("ES256, each seen for the first time", "haproxy", "rps", 1.5),
    ("API key of 100,000, limit", "haproxy", "rps", 1.1),
    ("API key of 100,000, limit", "nginx", "rps", 0.8),
    ("forward-auth behind nginx", "nginx", "rps", 0.9),
]


MEMORY_AIMS = {"nothing": 30, "1,000,000 API keys": 250, "10,000,000 revoked tokens": 450}


def compare(results):
    """(label, ratio, aim, whether it is met)."""
    for work, peer, what, aim in AIMS:
        ours, theirs = find(results, work), find(results, work, peer)
        if ours and theirs:
            ratio = ours[what] / theirs[what]
            name = {"us": "CPU", "rps": "requests/s"}[what]
            yield f"{work}: {name} against {theirs['who']}", ratio, aim, ratio <= aim if what == "us" else ratio >= aim
    for refused, allowed in (("refused: expired", "RS256, 10,000 tokens in rotation"),
                             ("refused: bad signature", "RS256, each seen for the first time")):
        ours, theirs = find(results, refused), find(results, allowed)
        if ours and theirs:
            ratio = ours["us"] / theirs["us"]
            yield f"{refused}: CPU against allowed ({allowed})", ratio, 1.0, ratio <= 1.0


def table(results):
    lines = ["| work | who | requests/s | CPU µs/request | p50 µs | p99 µs | memory MiB |", "|---|---|--:|--:|--:|--:|--:|"]
    for row in results["rows"]:
        peers = [other for other in results["rows"] if other["work"] == row["work"] and other["who"] != "trigate"]
        first = peers[0] if peers else row
        ratio = lambda name: f" ({row[name] / first[name]:.2f}×)" if row is not first and first[name] else ""
        lines.append(f"| {row['work']} | {row['who']} | {row['rps']:,.0f}{ratio('rps')} | {row['us']:.1f}{ratio('us')} | "
                     f"{row['p50']:.0f}{ratio('p50')} | {row['p99']:.0f}{ratio('p99')} | {row['mib']:.0f}{ratio('mib')} |")
    lines += ["", "| compared | ratio | aim | |", "|---|--:|--:|---|"]
    for label, ratio, aim, met in compare(results):
        lines.append(f"| {label} | {ratio:.2f}× | {'≤' if 'CPU' in label else '≥'} {aim}× | {'met' if met else '**missed**'} |")
    latency = results["latency"]
    if latency:
        ours, (peer, theirs) = latency["trigate"], next(iter(latency.items()))
        for name, aim in (("p50", 60), ("p99", 300)):
            met = "met" if ours[name] <= aim else "**missed**"
            lines.append(f"| added latency at half load ({ours['rate']:,.0f}/s), {name} ({peer}: {theirs[name]:.0f} µs) | "
                         f"{ours[name]:.0f} µs | ≤ {aim} µs | {met} |")
    for what, aim in MEMORY_AIMS.items():
        held, ready = results["memory"][what]
        lines.append(f"| memory, idle, with {what} | {held:.0f} MiB | ≤ {aim} MiB | {'met' if held <= aim else '**missed**'} |")
    held, ready = results["memory"]["10,000,000 revoked tokens"]
    lines.append(f"| ready with 10,000,000 revoked tokens after | {ready:.1f} s | ≤ 2 s | {'met' if ready <= 2 else '**missed**'} |")
    return "\n".join(lines)


def picture(results):
    """CPU per request, one bar a row: an SVG that reads on light and dark ground."""
    rows = results["rows"]
    width, left, line, top = 860, 400, 22, 34
    longest = max(row["us"] for row in rows)
    out, y, work = [], top, None
    for row in rows:
        if row["work"] != work:
            work, y = row["work"], y + 8
        ours = row["who"] == "trigate"
        bar = (width - left - 70) * row["us"] / longest
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{row["work"]} · {row["who"]}</text>'
                   f'<rect x="{left}" y="{y + 3}" width="{bar:.1f}" height="14" rx="2" fill="{"#0b7a75" if ours else "#9aa5b1"}"/>'
                   f'<text x="{left + bar + 6:.1f}" y="{y + 14}">{row["us"]:.1f}</text>')
        y += line
    style = "text{font:12px system-ui,sans-serif;fill:#1f2933}@media(prefers-color-scheme:dark){text{fill:#e4e7eb}}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 12}" viewBox="0 0 {width} {y + 12}" role="img" '
            f'aria-label="CPU microseconds per request"><style>{style}</style>'
            f'<text x="{left}" y="20" font-weight="600">CPU microseconds per request, one core; less is better</text>{"".join(out)}</svg>\n')


def main():
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("--trigate", required=True, help="the binary")
    read.add_argument("--work", required=True, help="folder for keys and tokens, kept between runs")
    read.add_argument("--only", default="", help="a pattern: which rows")
    read.add_argument("--rounds", type=int, default=3)
    read.add_argument("--seconds", type=int, default=5, help="of each measurement")
    read.add_argument("--warm", type=int, default=2, help="seconds before it")
    read.add_argument("--connections", type=int, default=64)
    read.add_argument("--tokens", type=int, default=10_000)
    read.add_argument("--fresh", type=int, default=200_000, help="tokens that are seen once")
    read.add_argument("--keys", type=int, default=100_000)
    read.add_argument("--nice", type=int, default=-20 if os.geteuid() == 0 else 0, help="shields what is measured from neighbours")
    read.add_argument("--json", help="file for all figures")
    read.add_argument("--svg", help="file for the picture")
    read.add_argument("--docs", help="page whose table is written anew")
    options = read.parse_args()
    options.trigate = str(pathlib.Path(options.trigate).resolve())
    options.work = str(pathlib.Path(options.work).resolve())
    bench = Bench(options)
    try:
        results = bench.run()
    finally:
        bench.end()
    print(table(results))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))
    if options.docs:
        page = pathlib.Path(options.docs)
        begin, end = "<!-- written by `cargo xtask bench gate --docs` -->", "<!-- end -->"
        before, _, rest = page.read_text().partition(begin)
        picture_line = "\n![CPU microseconds per request](performance.svg)\n"
        page.write_text(before + begin + "\n" + table(results) + "\n" + picture_line + end + rest.partition(end)[2])
    if options.svg:
        pathlib.Path(options.svg).write_text(picture(results))


if __name__ == "__main__":
    main()
