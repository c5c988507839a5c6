"""The mutations: what is changed, and what is to catch it."""

from dataclasses import dataclass
from typing import Final

SIMULATION: Final = "simulation"
PORT_SIMULATION: Final = "port-simulation"


@dataclass(frozen=True)
class Mutant:
    """One change of one place. ``old`` must stand in ``file`` exactly once.

    ``caught_by``: `SIMULATION`, `PORT_SIMULATION`, or the tests to run, as pytest takes them.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str = SIMULATION


TASKS: Final = "gha_step/steps/dispatch/tasks.py"
ATTEMPT: Final = "gha_step/steps/dispatch/attempt.py"
SENDER: Final = "gha_step/steps/dispatch/sender.py"
TRANSITIONS: Final = "gha_step/ledger/transitions.py"
ATTRIBUTION: Final = "gha_step/ledger/attribution.py"
SQLITE: Final = "gha_step/ledger/sqlite.py"
SQLITE_FILES: Final = "gha_step/ledger/sqlite_files.py"
OBSERVING: Final = "gha_step/steps/wait/run_poller.py"
OUTCOME: Final = "gha_step/github/runs.py"
FOLLOWING: Final = "gha_step/inbound/port/following.py"
FOLLOWED: Final = "tests/inbound/port/test_following.py"
FOLLOWER: Final = "gha_step/inbound/port/follower.py"
CANCELLING: Final = "gha_step/steps/cancel/step.py"
CANCELLED: Final = "tests/cancel"
INTAKE: Final = "gha_step/inbound/port/intake.py"
PARTITIONS: Final = "gha_step/inbound/port/partitions.py"
TRIAGE: Final = "gha_step/inbound/port/triage.py"
KAFKA: Final = "gha_step/inbound/port/kafka.py"
READ: Final = "tests/inbound/port/test_kafka.py"
WEBHOOK: Final = "gha_step/inbound/webhook.py"
ABORT_RULES: Final = "gha_step/inbound/abort/rules.py"
ABORTS: Final = "gha_step/inbound/abort/follower.py"
ABORTED: Final = "tests/inbound/abort"
REFRESHING: Final = "gha_step/inbound/rest/refreshing.py"
REFRESH: Final = "gha_step/inbound/rest/refresh.py"
REFRESHED: Final = "tests/inbound/test_refreshing.py"
REASONS: Final = "gha_step/steps/wait/reasons.py"
EXPLAINED: Final = "tests/wait/test_reasons.py"

_REPLACED: Final = (
    "                _REPLACE,\n                (stored.version, stored.state, body, record.key, record.version),"
)
_REPLACES: Final = "                'UPDATE records SET version = ?, state = ?, record = ? "

MUTANTS: Final = (
    Mutant(
        "no compare-and-set: a conflict counts as success",
        ATTEMPT,
        "            except (Conflict, LedgerUnavailable) as error:\n                trouble = error\n",
        "            except (Conflict, LedgerUnavailable):\n                return sending, None\n",
    ),
    Mutant(
        "a write without an answer counts as applied",
        ATTEMPT,
        "            except (Conflict, LedgerUnavailable) as error:\n                trouble = error\n",
        "            except LedgerUnavailable:\n                return sending, None\n"
        "            except Conflict:\n                pass\n",
    ),
    Mutant(
        "sqlite replaces whatever version is there",
        SQLITE,
        _REPLACED,
        _REPLACES + "WHERE key = ?',\n                (stored.version, stored.state, body, record.key),",
        "tests/ledger",
    ),
    Mutant(
        "sqlite compares the state instead of the version",
        SQLITE,
        _REPLACED,
        _REPLACES + "WHERE key = ? AND state = ?',\n                "
        '(stored.version, stored.state, body, record.key, "reserved"),',
        "tests/ledger",
    ),
    Mutant(
        "the POST is retried after a reset",
        SENDER,
        "                self._attempts.make(task, record, request, connection, preparation)\n",
        "                self._attempts.make(task, record, request, connection, preparation)\n"
        "                if task.record.state is State.UNKNOWN:\n"
        "                    from gha_step.github.dispatch import dispatch_request\n"
        "                    from gha_step.github.exchange import Exchange\n"
        "                    again = Exchange(self._connector.connect(request.endpoint), self._clock)\n"
        "                    again.send(dispatch_request(request.workflow, request.inputs, request.token,"
        " self._servers.dialect(request.endpoint)))\n",
    ),
    Mutant(
        "a workflow by its number is another one than the same by its file",
        "gha_step/ledger/record.py",
        "        return self.workflow == other.workflow or self.by_number or other.by_number\n",
        "        return self.workflow == other.workflow\n",
        "tests/ledger",
    ),
    Mutant(
        "newest run wins",
        ATTRIBUTION,
        "    if not look.settled or len(look.seen) != 1 or look.others.rivals or look.others.unidentified:\n"
        "        return None\n"
        '    return OnlyCandidate(run=_run(look.seen[0], "only-candidate"))\n',
        "    if not look.seen:\n        return None\n"
        '    return OnlyCandidate(run=_run(look.seen[-1], "only-candidate"))\n',
    ),
    Mutant(
        "no baseline and no floor",
        ATTRIBUTION,
        "        and run.id not in record.baseline_ids\n        and (floor is None or run.created_at >= int(floor))\n",
        "",
        "tests/attribution",
    ),
    Mutant(
        "the local clock instead of GitHub's",
        "gha_step/steps/dispatch/gate.py",
        "floor = None if runs.date is None else runs.date - DATE_SLACK",
        "floor = self._clock.now()",
        SIMULATION,
    ),
    Mutant(
        "a reset counts as not sent",
        ATTEMPT,
        "            event = AnswerLost(nonce=nonce, lost_at=self._clock.now(), reason=str(error))\n",
        "            event = NotSent(nonce=nonce)\n",
    ),
    Mutant(
        "unknown is sent again",
        TASKS,
        "                case State.RESERVED:\n",
        "                case State.RESERVED | State.UNKNOWN:\n"
        '                    task.record = record = record.model_copy(update={"state": State.RESERVED})\n',
    ),
    Mutant(
        "a stranger may call an attempt not sent",
        "gha_step/steps/dispatch/run_finder.py",
        'event = OwnerGone(nonce=nonce, lost_at=now, reason="the process that was sending it is gone")',
        "event = NotSent(nonce=nonce)",
    ),
    Mutant(
        "the only candidate is claimed from unknown",
        ATTRIBUTION,
        "_AFTER_204: Final = frozenset({State.ACCEPTED_WITHOUT_ID})\n",
        "from gha_step.ledger.transitions import TABLE  # noqa: E402\n\n"
        "_AFTER_204 = LOOKING\nTABLE[OnlyCandidate] = TABLE[OnlyCandidate]._replace(states=LOOKING)\n",
    ),
    Mutant(
        "no settling",
        ATTRIBUTION,
        "            since_sending >= settle if record.state is State.UNKNOWN else _settled(record, listing, settle)\n",
        "            True\n",
    ),
    Mutant(
        "candidates of the last listing only",
        ATTRIBUTION,
        "    known = {candidate.id: candidate for candidate in before if candidate.id not in others_runs}\n",
        "    known: dict[int, Candidate] = {}\n",
        "tests/attribution",
    ),
    Mutant(
        "runs of other keys are candidates",
        ATTRIBUTION,
        "        and run.id not in others_runs\n",
        "",
        "tests/attribution",
    ),
    Mutant(
        "the runs of other keys are not read",
        ATTRIBUTION,
        "        runs=frozenset(other.run.id for other in records if other.run is not None),\n",
        "        runs=frozenset(),\n",
        "tests/attribution",
    ),
    Mutant(
        "the only candidate waits for no other key",
        ATTRIBUTION,
        " or look.others.rivals or look.others.unidentified:\n",
        ":\n",
        "tests/attribution",
    ),
    Mutant(
        "a step that waits for other keys ends at its own deadline",
        ATTRIBUTION,
        "    patience = WAIT_FOR_OTHERS if look.waits else 0.0\n",
        "    patience = 0.0\n",
        "tests/attribution",
    ),
    Mutant(
        "a step that waits for other keys waits for ever",
        ATTRIBUTION,
        "WAIT_FOR_OTHERS: Final = 300.0",
        "WAIT_FOR_OTHERS: Final = 1e9",
        "tests/attribution",
    ),
    Mutant(
        "looking ends by the time of sending alone",
        ATTRIBUTION,
        "    return max(left, (sent if record.lost_at is None else record.lost_at) + shortest - now)\n",
        "    return left\n",
        "tests/attribution",
    ),
    Mutant(
        "looking may end with the first listing",
        ATTRIBUTION,
        "    if not look.enough or look.left + patience > 0:\n",
        "    if look.left + patience > 0:\n",
        "tests/attribution",
    ),
    Mutant(
        "a gate that cannot be written holds for ever",
        "gha_step/steps/dispatch/gate.py",
        '            if watched(hindrance, "conflict" if conflict else "unusable") < TAKEOVER:\n',
        "            if True:\n",
        "tests/dispatch/test_gate.py",
    ),
    Mutant(
        "a holder that never begins restarts the watch of a gate that is touched",
        "gha_step/steps/dispatch/gate.py",
        'f"gate of {record.key}", f"gate of {record.key}, hindered"',
        'f"gate of {record.key}", f"gate of {record.key}"',
        "tests/dispatch/test_gate.py",
    ),
    Mutant(
        "a holder that keeps trying is overtaken",
        "gha_step/steps/dispatch/gate.py",
        'watched(here, held_by.version if not_begun else "held")',
        'watched(here, "not begun" if not_begun else "held")',
        "tests/dispatch/test_gate.py",
    ),
    Mutant(
        "an outage counts as time for which a gate was touched",
        "gha_step/steps/dispatch/gate.py",
        'watched(hindrance, "conflict" if conflict else "unusable")',
        'watched(hindrance, "hindered")',
        "tests/dispatch/test_gate.py",
    ),
    Mutant(
        "runs that show another marker are candidates",
        ATTRIBUTION,
        "        and not foreign\n",
        "",
        "tests/attribution",
    ),
    Mutant(
        "no fence",
        ATTEMPT,
        "FENCE: Final = 10.0",
        "FENCE: Final = 1e9",
    ),
    Mutant(
        "the nonce is not compared",
        TRANSITIONS,
        '    if row.who is not ANYBODY and record.nonce != getattr(event, "nonce", None):\n',
        "    if False:\n",
        "tests/ledger",
    ),
    Mutant(
        "rejected is sent again",
        "gha_step/steps/dispatch/journal.py",
        "        if record is not None:\n            return record\n",
        "        if record is not None and record.state is State.REJECTED:\n"
        '            return record.model_copy(update={"state": State.RESERVED})\n'
        "        if record is not None:\n            return record\n",
    ),
    Mutant(
        "a vanished record is begun anew",
        "gha_step/steps/dispatch/journal.py",
        "        last = self.last_sent(key)\n",
        "        last = None\n",
        "tests/scenarios",
    ),
    Mutant(
        "no single flight: each call runs its own task",
        TASKS,
        "            task = self._tasks.setdefault(call.key.hash, mine)\n",
        "            task = mine\n",
        "tests/dispatch",
    ),
    Mutant(
        "a final failure is told while the record is reserved",
        "gha_step/steps/dispatch/answers.py",
        '            return StepResult.running(f"nothing dispatched yet: {note.message}", note.retry_after, output)\n',
        '            return StepResult.failed(f"nothing was dispatched: {note.message}", output)\n',
    ),
    Mutant(
        "no fsync",
        SQLITE,
        'connection.execute("PRAGMA synchronous=FULL")',
        'connection.execute("PRAGMA synchronous=OFF")',
        "tests/ledger",
    ),
    Mutant(
        "no update waits for the disk",
        SQLITE,
        "durable=not _may_be_told_unwritten(stored)",
        "durable=False",
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "a shared commit waits for the disk only if all its writes ask for it",
        SQLITE,
        "if any(write.durable for write in batch)",
        "if all(write.durable for write in batch)",
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "sqlite is not exclusive",
        SQLITE_FILES,
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/ledger",
    ),
    Mutant(
        "the database's own inode is not locked",
        SQLITE_FILES,
        'found = self._hold(self._database, os.O_RDONLY, 0o644, f"the ledger {path}")',
        "self._descriptors.append(os.open(self._database, os.O_RDONLY | os.O_CREAT, 0o644)); "
        "found = os.fstat(self._descriptors[-1]); self._held.append(found)",
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "hard links are let through",
        SQLITE_FILES,
        "if found.st_nlink > 1:",
        "if found.st_nlink > 9:",
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "the log may go under a live server",
        SQLITE_FILES,
        '(f"{self._database}-wal", f"{self._database}-shm")',
        '(f"{self._database}-shm",)',
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "a file may be cut off under a live server",
        SQLITE_FILES,
        "            if now.st_size < before.st_size:",
        "            if now.st_size < 0:",
        "tests/ledger/test_sqlite.py",
    ),
    Mutant(
        "a denial of the API server is final on first sight",
        "gha_step/kube.py",
        "return tries + 1 >= TRIES and now - first >= LASTING",
        "return True",
        "tests/test_kube.py",
    ),
    Mutant(
        "a success does not end a denial",
        "gha_step/kube.py",
        "        if 200 <= status < 300 and isinstance(answer, dict):\n            self._denials.end((method, path))\n",
        "        if 200 <= status < 300 and isinstance(answer, dict):\n",
        "tests/test_kube.py",
    ),
    Mutant(
        "a ledger that denies for good is waited for for ever",
        "gha_step/steps/registry.py",
        "if error.lasting:",
        "if False:",
        "tests/dispatch",
    ),
    Mutant(
        "a record without a state was never sent",
        "gha_step/ledger/kubernetes.py",
        '        fields["state"] = found["progress"]["state"]',
        "        pass",
        "tests/ledger/test_bounds.py",
    ),
    Mutant(
        "a record without a UID belongs to everybody",
        "gha_step/steps/dispatch/journal.py",
        'other_uid = key.caller.promotion_uid != "" and record.promotion_uid != key.caller.promotion_uid',
        'other_uid = "" not in (key.caller.promotion_uid, record.promotion_uid) and '
        "record.promotion_uid != key.caller.promotion_uid",
        "tests/dispatch/test_promotions_of_one_name.py",
    ),
    Mutant(
        "a record of another step is believed",
        "gha_step/steps/dispatch/journal.py",
        "return other_uid or record.key_parts != key.caller.key_parts",
        "return other_uid",
        "tests/dispatch/test_promotions_of_one_name.py",
    ),
    Mutant(
        "the store's client repeats its PUT",
        "gha_step/kube.py",
        "Retry(total=False, redirect=False)",
        "Retry(total=3, redirect=False)",
        "tests/test_kube.py",
    ),
    Mutant(
        "the connection reopens by itself",
        "gha_step/github/connection.py",
        "        self._socket.settimeout(CONNECT_SECONDS)\n        self._socket.sendall(data)\n",
        "        self._socket.settimeout(CONNECT_SECONDS)\n"
        "        peer = self._socket.getpeername()\n"
        "        self._socket.close()\n"
        "        self._socket = socket.create_connection(peer)\n"
        "        self._socket.sendall(data)\n",
        "tests/github",
    ),
    Mutant(
        "a 502 counts as refused",
        "gha_step/github/dispatch.py",
        "    if status in _REFUSED or 300 <= status < 400:\n",
        "    if status in _REFUSED or 300 <= status < 400 or status == 502:\n",
    ),
    Mutant(
        "a redirect of the POST is no refusal",
        "gha_step/github/dispatch.py",
        "    if status in _REFUSED or 300 <= status < 400:\n",
        "    if status in _REFUSED:\n",
        "tests/github",
    ),
    Mutant(
        "fresh tokens: four may be refused to one key",
        "gha_step/steps/dispatch/refusals.py",
        "MOST_TOKENS: Final = 2 ",
        "MOST_TOKENS: Final = 4 ",
        "tests/app_tokens",
    ),
    Mutant(
        "a new App token's first refusal is final",
        "gha_step/github/refusals.py",
        "FRESH: Final = 10.0",
        "FRESH: Final = 0.0",
        "tests/app_tokens",
    ),
    Mutant(
        "an App's tokens are tried without end",
        "gha_step/steps/dispatch/refusals.py",
        "            if self._tokens[key].index(token):\n                return False\n",
        "",
        "tests/app_tokens",
    ),
    Mutant(
        "waiting: one 404 is final",
        OBSERVING,
        "at_once=False, final=why_missing",
        "final=why_missing",
        "tests/wait",
    ),
    Mutant(
        "waiting: two refused looks are final however close they are",
        OBSERVING,
        "REFUSED_APART: Final = 10.0",
        "REFUSED_APART: Final = 1e-9",
        "tests/wait",
    ),
    Mutant(
        "waiting: one refused look after a good one is final",
        OBSERVING,
        "        if now < again_at and (watch.good or not at_once):\n",
        "        if now < again_at and not at_once:\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: a new token forgets the good looks of the old one",
        OBSERVING,
        "                watch.good, watch.refused_since = before.good, before.refused_since\n",
        "                pass\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: any conclusion is the expected one",
        "gha_step/steps/wait/answers.py",
        "    if expected is not None and expected != conclusion:\n",
        "    if not conclusion:\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: an unknown status counts as completed",
        OUTCOME,
        'STATUSES.get(self.status, (Phase.RUNNING, ""))',
        'STATUSES.get(self.status, (Phase.COMPLETED, ""))',
        "tests/wait",
    ),
    Mutant(
        "waiting: completed without a conclusion is an end",
        OUTCOME,
        "Phase.COMPLETED and self.conclusion is None else phase",
        "Phase.COMPLETED and False else phase",
        "tests/wait",
    ),
    Mutant(
        "waiting: Retry-After is not waited for",
        "gha_step/github/rate_limits.py",
        "            if until > before.until:\n",
        "            if False:\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: each call looks anew",
        OBSERVING,
        "            if watch.look is not None and watch.look.serves(now):\n",
        "            if False:\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: trouble is asked about at once",
        OBSERVING,
        "            watch.ask_after = now + min(PAUSE * 2.0 ** min(watch.troubles, 10), MAX_PAUSE)\n",
        "            watch.ask_after = now\n",
        "tests/wait",
    ),
    Mutant(
        "waiting: a server error fails the step",
        OBSERVING,
        "        except GitHubError as error:\n"
        "            return self._troubled(watch, at, error)\n"
        "        watch.good, watch.refused_since",
        "        except GitHubError as error:\n"
        "            return replace(watch.seen, trouble=None, failure=str(error))\n"
        "        watch.good, watch.refused_since",
        "tests/wait",
    ),
    Mutant(
        "waiting: one token's answer holds for all",
        "gha_step/github/run_reader.py",
        'key = (at.run.endpoint, f"{path}?{parameters}", at.token)',
        'key = (at.run.endpoint, f"{path}?{parameters}", Token(""))',
        "tests/wait",
    ),
    Mutant(
        "jobs: a name means all that begin with it",
        "gha_step/steps/wait/ending.py",
        'return job == name or (job.startswith(f"{name} (")',
        "return job == name or (job.startswith(name)",
        "tests/wait/test_named_jobs.py",
    ),
    Mutant(
        "re-runs: the grace begins anew with each look",
        "gha_step/steps/wait/ending.py",
        "ended = now if run.updated_at is None else run.updated_at",
        "ended = now",
        "tests/wait/test_reruns.py",
    ),
    Mutant(
        "outputs: an archive is unpacked whole",
        "gha_step/github/artifacts.py",
        "packed.read(MAX_OBJECT + 1)",
        "packed.read()",
        "tests/wait/test_outputs.py",
    ),
    Mutant(
        "outputs: they are stored wherever a redirect leads",
        "gha_step/github/artifacts.py",
        'host.endswith(f".{name}")',
        "host.endswith(name)",
        "tests/wait/test_outputs.py",
    ),
    Mutant(
        "outputs: those of an earlier attempt are taken",
        "gha_step/steps/wait/outputs.py",
        "    if any(job.attempt < run.attempt for job in jobs()):\n",
        "    if jobs():\n",
        "tests/wait/test_outputs.py",
    ),
    Mutant(
        "waiting: a run ID that has lost digits is taken",
        "gha_step/steps/run_fields.py",
        "return int(value) if value.is_integer() and abs(value) <= EXACT_FLOAT else None",
        "return int(value) if value.is_integer() else None",
        "tests/wait",
    ),
    Mutant(
        "a ref is read as protocol: the words of a refused key count anywhere in the message",
        "gha_step/github/refusals.py",
        "        return pattern.match(words[:LONGEST_READ]) is not None\n",
        "        return pattern.search(words[:LONGEST_READ]) is not None\n",
        "tests/github",
    ),
    Mutant(
        "a ref is read as protocol: texts of the user are not taken out",
        "gha_step/github/refusals.py",
        '                    words = re.sub(re.escape(repeated), "", words, flags=re.IGNORECASE)\n',
        "                    pass\n",
        "tests/github",
    ),
    Mutant(
        "what a server refuses in one API version counts for all",
        "gha_step/github/server_capabilities.py",
        "key_known=self._is_old(server.keyless.get(version))",
        "key_known=not server.keyless",
        "tests/github",
    ),
    Mutant(
        "API versions: a 204 to 2026-03-10 teaches nothing",
        "gha_step/github/server_capabilities.py",
        "            if dialect.version == API_2026 and not names_run:\n",
        "            if False:\n",
        "tests/dispatch",
    ),
    Mutant(
        "API versions: the key is sent with 2026-03-10",
        "gha_step/github/messages.py",
        "        return self.key_known and self.version != API_2026\n",
        "        return self.key_known\n",
        "tests/github tests/dispatch",
    ),
    Mutant(
        "API versions: a refused version is asked for ever",
        "gha_step/github/server_capabilities.py",
        "                server.refused[dialect.version] = self._clock.monotonic()\n",
        "                pass\n",
        "tests/github",
    ),
    Mutant(
        "API versions: a refused version is never asked for again",
        "gha_step/github/client.py",
        "self.servers.dialect_to_read(endpoint)",
        "self.servers.dialect(endpoint)",
        "tests/github",
    ),
    Mutant(
        "API versions: a dispatch asks for a refused version again",
        "gha_step/github/server_capabilities.py",
        "next((one for one in self._versions(endpoint, server) if one not in server.refused), None)",
        "next((one for one in self._versions(endpoint, server) if self._is_old(server.refused.get(one))), None)",
        "tests/github",
    ),
    Mutant(
        "API versions: any answer gives a refused version back",
        "gha_step/github/server_capabilities.py",
        "            if dialect.version is not None and headers.get(VERSION_SELECTED) == dialect.version:\n",
        "            if dialect.version is not None:\n",
        "tests/github",
    ),
    Mutant(
        "API versions: a server that was upgraded is not known anew",
        "gha_step/github/server_capabilities.py",
        "            if version is not None and version != server.version:\n",
        "            if version is not None and server.version is None:\n",
        "tests/github",
    ),
    Mutant(
        "a limit that asks for 0 s is no limit",
        "gha_step/github/rate_limits.py",
        "            pause = min(max(wait or 0.0, least), MAX_HOLD)\n",
        "            pause = min(least if wait is None else wait, MAX_HOLD)\n",
        "tests/wait/test_budgets.py",
    ),
    Mutant(
        "a link may lead anywhere",
        "gha_step/github/messages.py",
        "    return value if same else None\n",
        "    return value\n",
        "tests/github",
    ),
    Mutant(
        "a run ID may be true",
        "gha_step/github/messages.py",
        " or isinstance(value, bool) or not 0 < value < 2**63",
        " or not 0 < value < 2**63",
        "tests/github",
    ),
    Mutant(
        "Port: acknowledged before anything was sent",
        FOLLOWING,
        "    if record.state is State.RESERVED:\n        return _reserved(record, report, known, now, rules)\n",
        '    if report.ack == "open":\n        return Ack()\n'
        "    if record.state is State.RESERVED:\n        return _reserved(record, report, known, now, rules)\n",
        FOLLOWED,
    ),
    Mutant(
        "Port: a report that was not confirmed counts as told",
        FOLLOWING,
        "        case Unheard(sent):\n",
        "        case Unheard(sent) if sent is None:\n",
        FOLLOWED,
    ),
    Mutant(
        "Port: a lost PATCH is repeated without a read",
        FOLLOWING,
        "replace(known, stale=True, doubted=True) if sent and isinstance(step, Patch) else known",
        "known",
        FOLLOWED,
    ),
    Mutant(
        "Port: a lost answer of GitHub's is told as FAILURE at once",
        FOLLOWING,
        "    if (left := since + rules.unknown - now) > 0:\n",
        "    if (left := since + rules.unknown - now) > 1e9:\n",
        FOLLOWED,
    ),
    Mutant(
        "Port: reserved has no end",
        FOLLOWING,
        "    if (left := record.created_at + rules.queue - now) <= 0:\n",
        "    if (left := record.created_at + rules.queue - now + 1e9) <= 0:\n",
        FOLLOWED,
    ),
    Mutant(
        "Port, as a whole: acknowledged before anything is recorded",
        "gha_step/inbound/port/claims.py",
        '        self._intake.take(Press(run, "claims", claimed_at))\n',
        '        self._api.ack(kind, run.id)\n        self._intake.take(Press(run, "claims", claimed_at))\n',
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: the report is owed in memory only",
        "gha_step/steps/dispatch/request.py",
        "    return record if key.duty is None else record.owing(key.duty)\n",
        "    return record\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: a 409 on our ack is taken as another's",
        "gha_step/inbound/port/api.py",
        "        return answer.status != 404\n",
        "        return answer.status not in (404, 409)\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: a report without an answer counts as told",
        FOLLOWER,
        "            outcome, why, asked = Unheard(sent=isinstance(error, Lost)), str(error), error.retry_after\n",
        "            outcome, why, asked = Took(), str(error), error.retry_after\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: reserved has no end",
        FOLLOWING,
        '        return Reject(f"waited longer than {rules.queue:.0f} s to be sent{waited}")\n',
        "        return Wait(LINGER)\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: a dispatch that nobody can know of is told as not dispatched",
        FOLLOWING,
        "        case State.REJECTED:\n            return _not",
        "        case State.REJECTED | State.UNRESOLVED | State.UNKNOWN:\n            return _not",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: the end is learnt from the webhook only",
        FOLLOWING,
        "    known = replace(known, next_look=now + known.interval, interval=interval)\n    if run is None:\n",
        "    known = replace(known, next_look=now + 1e9, interval=interval)\n    if run is None:\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: a message is committed when it is received",
        INTAKE,
        "                held = self._held[name] = Held(press)\n",
        "                held = self._held[name] = Held(press, decided=True)\n",
        PORT_SIMULATION,
    ),
    Mutant(
        "Port, as a whole: what was withdrawn is not read again",
        INTAKE,
        "        return at is not None and self._clock.monotonic() - at <= FRESH and not self.draining\n",
        "        return at is not None and not self.draining\n",
        "tests/inbound/port/whole/test_runs.py",
    ),
    Mutant(
        "Port: one 404 is believed",
        FOLLOWING,
        "    return report, known if known.missing_since is not None else replace(known, missing_since=now)\n",
        "    return _changed(report, closed=True), known\n",
        FOLLOWED,
    ),
    Mutant(
        "Port: anyone who sets FAILURE gets the workflow cancelled",
        FOLLOWING,
        'known.port.status == "FAILURE" and known.port.by_a_person',
        'known.port.status == "FAILURE"',
        FOLLOWED,
    ),
    Mutant(
        "Kafka: the highest decided offset is committed, whatever is undecided below it",
        PARTITIONS,
        "        return min(self.undecided, default=self.end)",
        "        return self.end",
        "tests/inbound/port/test_partitions.py",
    ),
    Mutant(
        "Kafka: what an earlier owner of a partition decides counts",
        PARTITIONS,
        "book.assignment == place.assignment and place.offset in book.undecided",
        "place.offset in book.undecided",
        "tests/inbound/port/test_partitions.py",
    ),
    Mutant(
        "Kafka: a message is committed once it is handed over",
        KAFKA,
        "            if message.held.decided:",
        "            if True:",
        READ,
    ),
    Mutant(
        "Kafka: a wrong signature is refused before one was right",
        TRIAGE,
        'return "wrong" if self.proved and generation == self.generation else "doubtful"',
        'return "wrong"',
        READ,
    ),
    Mutant(
        "Kafka: the previous secret counts as the new one",
        TRIAGE,
        "            self.proved = self.proved or generation == self.generation",
        "            self.proved = True",
        READ,
    ),
    Mutant(
        "Kafka: a message without a signature is taken over any connection",
        TRIAGE,
        'if verdict == "missing" and self._unsigned:',
        'if verdict == "missing":',
        READ,
    ),
    Mutant(
        "Kafka: a run that somebody else dispatched is dispatched again",
        TRIAGE,
        "    if needs_record(run) and not recorded:",
        "    if False:",
        READ,
    ),
    Mutant(
        "Kafka: a forged message ends a run that is in hand",
        KAFKA,
        "        if self._intake.holds(run.kind, run.id):",
        "        if False:",
        READ,
    ),
    Mutant(
        "Kafka: a lost commit counts as made",
        KAFKA,
        "            self._partitions.not_committed()",
        "            pass",
        READ,
    ),
    Mutant(
        "GitHub's webhook: a delivery is believed without its signature",
        WEBHOOK,
        "        if not hmac.compare_digest(given.encode(), signature(body, secret).encode()):",
        "        if False:",
        "tests/inbound/test_webhook.py",
    ),
    Mutant(
        "an answer that knows nothing makes the host forget the dispatch",
        "gha_step/inbound/execution.py",
        "result = result.keeping(request.remembered)",
        "pass",
        "tests/inbound/test_waiting.py",
    ),
    Mutant(
        "GitHub's webhook: each delivery brings a look",
        WEBHOOK,
        "        if last > now:",
        "        if False:",
        "tests/inbound/test_webhook.py",
    ),
    Mutant(
        "Port: what the workflow put into a node's output is replaced",
        "gha_step/inbound/port/reports.py",
        '"output": {**own, **seen.output}',
        '"output": own',
        FOLLOWED,
    ),
    Mutant(
        "Port: a POST goes out again where a kept connection breaks",
        "gha_step/inbound/port/client.py",
        '                if request.method != "GET":\n                    raise\n',
        "                pass\n",
        "tests/inbound/port/test_connections.py",
    ),
    Mutant(
        "Port: a connection that Port has closed is used",
        "gha_step/inbound/port/connections.py",
        "self._longest and _is_silent(kept.connection)",
        "self._longest",
        "tests/inbound/port/test_connections.py",
    ),
    Mutant(
        "Port: a node that has ended is told its external ID for ever",
        FOLLOWING,
        "stale=True, unreadable=known.unreadable or no_id)",
        "stale=True)",
        FOLLOWED,
    ),
    Mutant(
        "Port: a number is spelled anew",
        "gha_step/inbound/port/wire_json.py",
        "parse_float=Number, parse_int=Number",
        "parse_int=Number",
        "tests/inbound/port/test_messages.py",
    ),
    Mutant(
        "Port: a signature over anything is right",
        "gha_step/inbound/port/signature.py",
        "        right |= hmac.compare_digest(given, sign(text, at, secret))\n",
        "        right |= given.startswith(b'v1,')\n",
        "tests/inbound/port/test_signature.py",
    ),
    Mutant(
        "Port: a refused token is asked for anew each time",
        "gha_step/inbound/port/tokens.py",
        "        self._free = self._accepted and not self._renewed\n",
        "        self._free = True\n",
        "tests/inbound/port/test_tokens.py",
    ),
    Mutant(
        "a report may be opened again",
        "gha_step/ledger/duties.py",
        "            not self.closed\n            and all",
        "            True\n            and all",
        "tests/ledger/test_duties.py",
    ),
    Mutant(
        "API versions: a 204 without the header's arrival is sent again",
        ATTEMPT,
        "            case AcceptedWithoutRun(date):\n",
        '            case AcceptedWithoutRun() if post.dialect.version == "2026-03-10":\n'
        '                return RefusedForNow(nonce=nonce, at=None, reason="the header is lost")\n'
        "            case AcceptedWithoutRun(date):\n",
    ),
    Mutant(
        "cancelOnAbort: whichever attempt runs is cancelled",
        ABORT_RULES,
        "    if duty.attempt is not None and run.attempt != duty.attempt:\n",
        "    if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: an attempt that began after the end counts as current",
        ABORT_RULES,
        "    if duty.attempt is None and run.attempt > 1 and _began_after(duty, run, date, now):\n",
        "    if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: a run that a rule has named is cancelled",
        ABORT_RULES,
        'EXACT: Final = ("response", "marker")',
        'EXACT: Final = ("response", "marker", "promotion-name", "only-candidate")',
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: a Promotion that Succeeded is an end like others",
        ABORTS,
        '        if end == "Succeeded":\n',
        "        if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: who may not read a Promotion takes it for deleted",
        "gha_step/inbound/promotions.py",
        '            raise Unavailable(_why(error, project, name, "cancel-on-abort")) from None\n',
        '            return "deleted"\n',
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: a Promotion of the same name is taken for it",
        "gha_step/inbound/promotions.py",
        "        if _uid(promotion, project, name) != uid:\n",
        "        if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: forced without being asked to",
        ABORT_RULES,
        '    if duty.mode == "cancel":\n',
        "    if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: what was done is not remembered until it is written",
        ABORTS,
        "        if followed.unwritten is not None:\n",
        "        if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: the token goes to whichever server the Secret names now",
        ABORTS,
        "        if repository.endpoint.base != record.target.api_base:\n",
        "        if False:\n",
        ABORTED,
    ),
    Mutant(
        "cancelOnAbort: a send goes on though the end is known",
        SENDER,
        "        if record.abort is not None and record.abort.aborted:\n",
        "        if False:\n",
        ABORTED,
    ),
    Mutant(
        "an API server's first denial is final",
        "gha_step/kube.py",
        "        return tries + 1 >= TRIES and now - first >= LASTING\n",
        "        return True\n",
    ),
    Mutant(
        "cancel: a later attempt is cancelled too",
        CANCELLING,
        "        if observed.attempt != meant:\n",
        "        if observed.attempt < meant:\n",
        CANCELLED,
    ),
    Mutant(
        "cancel: the attempt is asked for without a record of it",
        CANCELLING,
        "                self._store.write(new_record(caller, work.run, observed.attempt, self._clock.now()))\n",
        "                pass\n",
        CANCELLED,
    ),
    Mutant(
        "cancel: of a run that had ended nothing is recorded",
        CANCELLING,
        "        if meant is None:  #",
        "        if meant is None and not ended:  #",
        CANCELLED,
    ),
    Mutant(
        "cancel: force does not wait for its time",
        CANCELLING,
        " and now - turn.asked_at >= config.force:\n",
        ":\n",
        CANCELLED,
    ),
    Mutant(
        "cancel: the record of another run is as good",
        "gha_step/steps/cancel/record.py",
        "    if found.run_id != run.run_id:\n",
        "    if False:\n",
        CANCELLED,
    ),
    Mutant(
        "waking: a run that goes on is passed on as one that has ended",
        REFRESHING,
        "        if not hint.ended:\n",
        "        if False:\n",
        REFRESHED,
    ),
    Mutant(
        "waking: who called another replica is not looked up",
        REFRESHING,
        "        if not hint.dispatched:\n",
        "        if True:\n",
        REFRESHED,
    ),
    Mutant(
        "waking: who called here hides the Promotion that dispatched",
        REFRESHING,
        "        if not hint.dispatched:\n",
        "        if found or not hint.dispatched:\n",
        REFRESHED,
    ),
    Mutant(
        "waking: the ledger is asked about runs that nobody dispatched",
        REFRESHING,
        "        if not hint.dispatched:\n",
        "        if False:\n",
        REFRESHED,
    ),
    Mutant(
        "waking: a run of the same ID in another repository wakes",
        REFRESHING,
        " if one.promotion and one.target.repo == repo]",
        " if one.promotion]",
        REFRESHED,
    ),
    Mutant(
        "waking: one run may wake any number of Promotions",
        REFRESHING,
        "[*itertools.islice(self._recorded(hint.run_id), MOST_OF_ONE_RUN)]",
        "[*self._recorded(hint.run_id)]",
        REFRESHED,
    ),
    Mutant(
        "waking: a Promotion that has gone on is pressed again",
        REFRESHING,
        "self._refresh(one.project, one.promotion, series.step)",
        "self._refresh(one.project, one.promotion, None)",
        REFRESHED,
    ),
    Mutant(
        "waking: it is pressed for ever",
        REFRESHING,
        "            self._series[one] = _Series(series.times + 1, step)\n        return self._presses[series.times]",
        "            self._series[one] = _Series(0, step)\n        return self._presses[series.times]",
        REFRESHED,
    ),
    Mutant(
        "waking: a lasting refusal is asked again",
        REFRESHING,
        "            over = error.retry_after is None\n",
        "            over = False\n",
        REFRESHED,
    ),
    Mutant(
        "waking: each refusal is a line",
        REFRESHING,
        '            if now - self._said.get(project, float("-inf")) < SAID_EVERY:\n',
        "            if False:\n",
        REFRESHED,
    ),
    Mutant(
        "waking: a Promotion that does not run is pressed",
        REFRESH,
        ' or status.get("phase") != "Running":\n',
        ":\n",
        REFRESHED,
    ),
    Mutant(
        "waking: the patch does not name the Promotion's UID",
        REFRESH,
        '{"metadata": {"uid": standing[0], "annotations"',
        '{"metadata": {"annotations"',
        REFRESHED,
    ),
    Mutant(
        "waking: where a Promotion stands is not its UID and step",
        REFRESH,
        '(metadata.get("uid"), status.get("currentStep"))',
        'metadata.get("uid")',
        REFRESHED,
    ),
    Mutant(
        "reasons: any number of jobs is asked about",
        REASONS,
        "[:MOST_EXPLAINED]",
        "",
        EXPLAINED,
    ),
    Mutant(
        "reasons: each look asks anew",
        REASONS,
        "        if known.attempt != run.attempt:\n",
        "        if True:\n",
        EXPLAINED,
    ),
    Mutant(
        "reasons: a new attempt is told with the words of the last",
        REASONS,
        "        if known.attempt != run.attempt:\n",
        (
            "        if not known.attempt:\n"
            "            known.attempt = run.attempt\n"
            "            known.explained = self._with_annotations(at, failed)\n"
            "        if False:\n"
        ),
        EXPLAINED,
    ),
    Mutant(
        "reasons: a token that may not read checks asks with each run",
        REASONS,
        "                    self._may_not[key] = now\n",
        "                    pass\n",
        EXPLAINED,
    ),
    Mutant(
        "reasons: annotations that cannot be had end the look",
        REASONS,
        "        except GitHubError:\n            pass\n        return tuple(explained)\n",
        "        return tuple(explained)\n",
        EXPLAINED,
    ),
    Mutant(
        "reasons: a pending run's group is asked for with each look",
        REASONS,
        "now - known.ahead_at < AHEAD_EVERY or ",
        "",
        EXPLAINED,
    ),
    Mutant(
        "reasons: a server without groups is asked for ever",
        REASONS,
        "                self._servers.tells_no_groups(at.run.endpoint)\n",
        "                pass\n",
        EXPLAINED,
    ),
    Mutant(
        "reasons: a hidden group counts as a server without groups",
        REASONS,
        "            if error.status == 404 and known.group is None:",
        "            if error.status == 404:",
        EXPLAINED,
    ),
    Mutant(
        "Port: a refusal that may pass ends the report",
        FOLLOWING,
        " and status in _FINAL_STATUSES:\n",
        ":\n",
        FOLLOWED,
    ),
    Mutant(
        "Port: an ack that is refused holds up link and end",
        FOLLOWING,
        "        case Refusal() if isinstance(step, Ack):",
        "        case Refusal() if False:",
        FOLLOWED,
    ),
    Mutant(
        "Port: a proxy's page counts as taken",
        "gha_step/inbound/port/api.py",
        "    if 200 <= answer.status < 300 and answer.body.strip():\n",
        "    if False:\n",
        "tests/inbound/port/test_client.py",
    ),
    Mutant(
        "cancelOnAbort: a clock behind makes any attempt the current one",
        ABORT_RULES,
        "    if since_end < 0:  # it was",
        "    if False:  # it was",
        ABORTED,
    ),
    Mutant(
        "Port: what was decrypted is quoted with GitHub's refusal",
        "gha_step/github/dispatch.py",
        "secrets=(*answer.secrets, *secrets)",
        "secrets=answer.secrets",
        "tests/inbound/port/whole/test_intake.py",
    ),
    Mutant(
        "a secret with quotes is not looked for in JSON's strings",
        "gha_step/github/messages.py",
        "secret.needs_escapes or secret.is_in(text)",
        "secret.is_in(text)",
        "tests/inbound/port/whole/test_intake.py",
    ),
)
