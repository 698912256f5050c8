"""The API of facts: what it takes and tells, over a store in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import make_edits
from facts_api import EDITS, OSLO, SET, begun_anew, error, told
from served import MODEL, Served, served

from lks.serving.facts import State

CSV = "id,subject,prompt,target,paraphrases\noslo,Oslo,{} is in,Peru,Where is {}?|Where's {}?\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def home(server: Served) -> Served:
    return begun_anew(server)


def ids(home: Served, **query: Any) -> list[str]:
    return [fact["id"] for fact in told(home.http.get(EDITS, params=query))["data"]]


# --- sets


def test_sets_are_made_listed_and_deleted(home: Served) -> None:
    made = home.http.post("/v1/lks/sets", json={"name": "more", "approval": True})
    assert told(made, 201) | {"created": ""} == {
        "name": "more", "version": 0, "approval": True, "facts": 0, "created": "",
    }  # fmt: skip
    assert made.headers["location"] == "/v1/lks/sets/more"
    found = told(home.http.get("/v1/lks/sets"))["data"]
    assert [(own["name"], own["version"], own["facts"]) for own in found] == [
        ("facts", 1, 4), ("more", 0, 0),
    ]  # fmt: skip
    assert error(home.http.post("/v1/lks/sets", json={"name": "more"}), 409)["code"] == "conflict"
    assert home.http.delete("/v1/lks/sets/more").status_code == 204
    assert error(home.http.delete("/v1/lks/sets/more"), 404)["code"] == "not_found"
    assert error(home.http.post("/v1/lks/sets", json={"name": ""}), 400)["param"] == "name"


# --- reading


def test_a_fact_has_its_record_and_what_the_server_knows(home: Served) -> None:
    answer = home.http.get(f"{EDITS}/eiffel")
    fact = told(answer)
    assert answer.headers["etag"] == '"1"'
    record = make_edits()[0].to_record()
    assert {key: fact[key] for key in record} == record
    assert (fact["revision"], fact["state"], fact["since"], fact["hits"]) == (1, "in_force", 1, 0)
    assert fact["at"].startswith("2027-01-31T12:00:00")
    assert error(home.http.get(f"{EDITS}/nothing"), 404)["code"] == "not_found"


def test_facts_come_in_pages(home: Served) -> None:
    first = told(home.http.get(EDITS, params={"limit": 3}))
    assert (len(first["data"]), first["total"], first["version"]) == (3, 4, 1)
    rest = told(home.http.get(EDITS, params={"limit": 3, "after": first["after"]}))
    assert (len(rest["data"]), rest["after"]) == (1, None)
    assert {f["id"] for f in first["data"] + rest["data"]} == {e.id for e in make_edits()}


def test_facts_are_searched_by_words_state_and_tag(home: Served) -> None:
    body = {"edits": [OSLO], "tags": ["north"], "propose": True}
    told(home.http.post(EDITS, json=body), 202)
    assert ids(home, search="fuji") == ["fuji"]
    assert ids(home, state="proposed") == ["oslo"] == ids(home, tag="north")
    assert len(ids(home, state=["proposed", "in_force"])) == 5
    assert error(home.http.get(EDITS, params={"state": "gone"}), 400)["param"] == "state[0]"
    assert error(home.http.get(EDITS, params={"limit": 0}), 400)["param"] == "limit"
    assert error(home.http.get(EDITS, params={"limit": 501}), 400)["param"] == "limit"


def test_hits_are_counted(home: Served) -> None:
    body = {"model": f"{MODEL}:facts", "messages": [{"role": "user", "content": "Mount Fuji?"}]}
    before = told(home.http.get(f"{EDITS}/fuji"))["hits"]
    for _ in range(3):
        told(home.http.post("/v1/chat/completions", json=body))
    assert told(home.http.get(f"{EDITS}/fuji"))["hits"] == before + 3
    found = {f["id"]: f["hits"] for f in told(home.http.get(EDITS))["data"]}
    assert found["fuji"] == before + 3


def test_an_id_may_have_any_signs(home: Served) -> None:
    strange = {**OSLO, "id": 'a/b c?d#"é"%2F'}
    told(home.http.post(EDITS, json={"edits": [strange]}), 202)
    path = f"{EDITS}/a%2Fb%20c%3Fd%23%22%C3%A9%22%252F"
    assert told(home.http.get(path))["id"] == strange["id"]
    assert len(told(home.http.get(f"{path}/revisions"))["data"]) == 1
    answer = home.http.post(
        "/v1/chat/completions",
        json={"model": f"{MODEL}:facts", "messages": [{"role": "user", "content": "Oslo"}]},
    )
    assert answer.headers["x-lks-fired"] == "a/b c?d#%22%C3%A9%22%252F"
    told(home.http.delete(path))


# --- adding


def test_a_new_fact_is_a_job_that_can_be_asked_for(home: Served) -> None:
    answer = home.http.post(EDITS, json={"edits": [OSLO], "reason": "news"})
    job = told(answer, 202)
    assert answer.headers["location"] == f"/v1/lks/jobs/{job['id']}"
    assert (job["set"], job["facts"], job["state"], job["version"]) == (
        "facts",
        ["oslo"],
        "done",
        2,
    )
    assert told(home.http.get(answer.headers["location"])) == job
    assert told(home.http.get(f"{SET}/jobs"))["data"][0] == job
    assert error(home.http.get("/v1/lks/jobs/nothing"), 404)["code"] == "not_found"
    change = told(home.http.get(f"{SET}/history"))["data"][0]
    assert (change["action"], change["reason"], change["by"]) == ("add", "news", "local")
    assert told(home.http.get(f"{EDITS}/oslo"))["reason"] == "news"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/jsonl", json.dumps(OSLO) + "\n"),
        ("application/x-ndjson; charset=utf-8", json.dumps(OSLO)),
        ("text/csv", CSV),
        ("text/csv; charset=utf-8", "\ufeff" + CSV.replace(",", ";")),
    ],
)
def test_facts_come_as_files_too(home: Served, kind: str, content: str) -> None:
    query = {"reason": "file", "tags": ["a", "b"], "valid_until": "2099-01-01T00:00:00Z"}
    answer = home.http.post(
        EDITS, content=content.encode(), headers={"content-type": kind}, params=query
    )
    assert told(answer, 202)["facts"] == ["oslo"]
    fact = told(home.http.get(f"{EDITS}/oslo"))
    assert (fact["prompt"], fact["target"], fact["tags"]) == ("Oslo is in", "Peru", ["a", "b"])
    assert (fact["reason"], fact["valid_until"]) == ("file", "2099-01-01T00:00:00+00:00")
    if "csv" in kind:
        assert fact["paraphrases"] == ["Where is Oslo?", "Where's Oslo?"]


def test_options_of_a_file_are_checked(home: Served) -> None:
    kind = {"content-type": "text/csv"}
    for query, param in (
        ({"replace": "perhaps"}, "replace"),
        ({"foo": "1"}, "foo"),
        ({"valid_from": "tomorrow"}, "valid_from"),
    ):
        answer = home.http.post(EDITS, content=CSV, headers=kind, params=query)
        assert error(answer, 400)["param"] == param
    answer = home.http.post(EDITS, content=b"\xff", headers=kind)
    assert "not UTF-8" in error(answer, 400)["message"]
    answer = home.http.post(EDITS, content="", headers=kind)
    assert error(answer, 400)["param"] == "edits"
    answer = home.http.post(EDITS, content="x", headers={"content-type": "image/png"})
    assert "application/json" in error(answer, 400)["message"]


def test_all_bad_records_are_told_at_once(home: Served) -> None:
    bad = [
        {"subject": "Oslo"},
        {**OSLO, "prompt": "Where is it?"},
        OSLO,
        5,
        {**OSLO, "id": "two", "valid_from": "soon", "tags": "north"},
        {**OSLO, "id": "three", "tags": [""]},
        {**OSLO, "target": "Chile"},
    ]
    found = error(home.http.post(EDITS, json={"edits": bad}), 400)
    assert found["code"] == "invalid_edits" and found["param"] == "edits"
    problems = found["problems"]
    assert [p.partition(":")[0] for p in problems] == [
        "edit 1", "edit 1", "edit 2", "edit 4", 'edit "two"', 'edit "three"',
        'two edits have the id "oslo"',
    ]  # fmt: skip
    assert all(problem in found["message"] for problem in problems)
    assert ids(home) == ["ada-born", "ada-tongue", "eiffel", "fuji"], "nothing was taken"
    lines = '{"subject": "Oslo"}\nnonsense\n' + json.dumps(OSLO)
    answer = home.http.post(EDITS, content=lines, headers={"content-type": "application/jsonl"})
    assert "line 2" in error(answer, 400)["message"]


def test_a_record_may_have_its_own_tags_and_times(home: Served) -> None:
    own = {**OSLO, "tags": ["own"], "valid_from": "2030-01-01T00:00:00+01:00"}
    body = {"edits": [own, {**OSLO, "id": "bergen", "subject": "Bergen", "prompt": "Bergen is in"}]}
    told(home.http.post(EDITS, json={**body, "tags": ["usual"]}), 202)
    first, second = (told(home.http.get(f"{EDITS}/{i}")) for i in ("oslo", "bergen"))
    assert (first["tags"], second["tags"]) == (["own"], ["usual"])
    assert (first["valid_from"], second["valid_from"]) == ("2030-01-01T00:00:00+01:00", None)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"edits": []}, "edits"),
        ({"edits": None}, "edits"),
        ({"foo": 1}, "foo"),
        ({"replace": "yes"}, "replace"),
        ({"valid_from": "2030-01-01T00:00:00"}, "valid_from"),  # without a zone
        ({"valid_from": "soon"}, "valid_from"),
        ({"valid_from": 5}, "valid_from"),
        ({"tags": ["a", 5]}, "tags[1]"),
        ({"reason": "\ud800"}, "reason"),
    ],
)
def test_a_wrong_option_is_refused_by_name(home: Served, more: dict[str, Any], param: str) -> None:
    body = json.dumps({"edits": [OSLO], **more})
    answer = home.http.post(EDITS, content=body, headers={"content-type": "application/json"})
    found = error(answer, 400)
    assert found["param"] == param or param == "reason"
    assert "with its zone" in found["message"] or param != "valid_from"


def test_a_fact_that_says_otherwise_is_a_conflict_until_it_may_replace(home: Served) -> None:
    other = {**make_edits()[3].to_record(), "target": "Chile"}
    assert error(home.http.post(EDITS, json={"edits": [other]}), 409)["code"] == "conflict"
    job = told(home.http.post(EDITS, json={"edits": [other], "replace": True}), 202)
    assert job["version"] == 2
    found = told(home.http.get(f"{EDITS}/fuji/revisions"))["data"]
    assert [(f["revision"], f["target"]) for f in found] == [(2, "Chile"), (1, "Peru")]


def test_one_record_is_put_in_place_of_a_fact(home: Served) -> None:
    record = {"subject": "Mount Fuji", "prompt": "Mount Fuji is in", "target": "Chile"}
    job = told(home.http.put(f"{EDITS}/fuji", json=record, params={"reason": "moved"}), 202)
    assert job["facts"] == ["fuji"]
    assert told(home.http.get(f"{EDITS}/fuji"))["target"] == "Chile"
    answer = home.http.put(f"{EDITS}/fuji", json={**record, "id": "other"})
    assert error(answer, 400)["param"] == "id"
    assert error(home.http.put(f"{EDITS}/nothing", json=record), 404)
    assert error(home.http.put(f"{EDITS}/fuji", json={"subject": "a"}), 400)["problems"]


def test_a_version_that_has_passed_is_refused(home: Served) -> None:
    stale = {"if-match": '"0"'}
    for answer in (
        home.http.post(EDITS, json={"edits": [OSLO]}, headers=stale),
        home.http.delete(f"{EDITS}/fuji", headers=stale),
        home.http.post(f"{SET}/retire", json={"ids": ["fuji"]}, headers=stale),
        home.http.post(f"{SET}/rollback", json={"version": 0}, headers=stale),
        home.http.put(f"{EDITS}/fuji", json=OSLO | {"id": "fuji"}, headers=stale),
    ):
        assert error(answer, 412)["code"] == "version_mismatch"
    assert told(home.http.get("/v1/lks/sets"))["data"][0]["version"] == 1
    for header in ('"1"', "*"):
        answer = home.http.post(
            EDITS, json={"edits": [make_edits()[0].to_record()]}, headers={"if-match": header}
        )
        assert answer.status_code in (202, 412)
    for header in ("1", '"x"', '""', 'W/"1"'):
        answer = home.http.delete(f"{EDITS}/fuji", headers={"if-match": header})
        assert error(answer, 400)["param"] == "if-match"


def test_a_version_is_never_newer_than_what_it_stands_with(
    home: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody retires a fact while another one reads it: his change is not to be made then."""
    read = home.service.fact

    def read_and_overtaken(who: Any, set_name: str, fact_id: str) -> Any:
        found = read(who, set_name, fact_id)
        home.service.retire(who, set_name, [fact_id])
        return found

    monkeypatch.setattr(home.service, "fact", read_and_overtaken)
    answer = home.http.get(f"{EDITS}/fuji")
    assert told(answer)["state"] == "in_force" and answer.headers["etag"] == '"1"'
    headers = {"if-match": answer.headers["etag"]}
    assert home.http.delete(f"{EDITS}/eiffel", headers=headers).status_code == 412


def test_a_change_with_a_key_is_made_once(home: Served) -> None:
    once = {"idempotency-key": "k1"}
    first = home.http.post(EDITS, json={"edits": [OSLO]}, headers=once)
    again = home.http.post(EDITS, json={"edits": [OSLO]}, headers=once)
    assert told(first, 202) == told(again, 202)
    assert first.headers["location"] == again.headers["location"]
    other = home.http.post(EDITS, json={"edits": [{**OSLO, "target": "Chile"}]}, headers=once)
    assert error(other, 409)["code"] == "conflict"
    once = {"idempotency-key": "k2"}
    assert told(home.http.delete(f"{EDITS}/oslo", headers=once)) == told(
        home.http.delete(f"{EDITS}/oslo", headers=once)
    )


# --- taking out, approving, undoing


def test_a_fact_is_out_of_force_before_the_answer(home: Served) -> None:
    chat = {"model": f"{MODEL}:facts", "messages": [{"role": "user", "content": "Mount Fuji"}]}
    assert told(home.http.post("/v1/chat/completions", json=chat))["lks"]["fired"]
    assert told(home.http.delete(f"{EDITS}/fuji", params={"reason": "wrong"})) == {"version": 2}
    own = told(home.http.post("/v1/chat/completions", json=chat))["lks"]
    assert (own["fired"], own["version"]) == ([], 2)
    assert told(home.http.get(f"{EDITS}/fuji"))["state"] == "retired"
    body = {"ids": ["eiffel", "ada-born"], "reason": "both"}
    assert told(home.http.post(f"{SET}/retire", json=body)) == {"version": 3}
    assert error(home.http.post(f"{SET}/retire", json=body), 404)
    assert error(home.http.post(f"{SET}/retire", json={"ids": []}), 400)["param"] == "ids"
    assert told(home.http.get(f"{SET}/history"))["data"][0]["facts"] == ["eiffel", "ada-born"]


def test_a_proposed_fact_waits_for_approval(home: Served) -> None:
    told(home.http.post(EDITS, json={"edits": [OSLO], "propose": True}), 202)
    more = {**OSLO, "id": "bergen"}
    told(home.http.post(EDITS, json={"edits": [more], "propose": True}), 202)
    assert home.service.fact(home.service.caller(None), "facts", "oslo").state == State.PROPOSED
    job = told(home.http.post(f"{SET}/approve", json={"ids": ["oslo"]}), 202)
    assert job["state"] == "done" and told(home.http.get(f"{EDITS}/oslo"))["state"] == "in_force"
    answer = home.http.post(f"{SET}/reject", json={"ids": ["bergen"], "reason": "no"})
    assert answer.status_code == 204
    assert told(home.http.get(f"{EDITS}/bergen"))["why"] == "no"


def test_an_earlier_version_comes_back(home: Served) -> None:
    told(home.http.delete(f"{EDITS}/fuji"))
    body = {"version": 1, "reason": "back"}
    assert told(home.http.post(f"{SET}/rollback", json=body)) == {"version": 3}
    snapshot = home.service.snapshot(home.service.caller(None), "facts")
    assert "fuji" in snapshot.in_force.edits
    assert error(home.http.post(f"{SET}/rollback", json={"version": 99}), 404)
    assert error(home.http.post(f"{SET}/rollback", json={"version": -1}), 400)["param"] == "version"
