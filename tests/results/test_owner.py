"""Whether the process that claimed still runs, as far as this machine can tell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest

from results.owner import Owner

HERE = Owner.this_process("run")


def test_a_process_of_this_machine_is_known_to_be_alive_until_it_dies():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(HERE, pid=child.pid, started=psutil.Process(child.pid).create_time())
    assert owner.is_known_alive()
    assert not owner.is_known_dead()
    child.kill()
    child.wait()
    assert owner.is_known_dead()
    assert not owner.is_known_alive()


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it():
    assert replace(HERE, started=HERE.started - 100.0).is_known_dead()
    assert not HERE.is_known_dead()


def test_a_process_that_died_but_was_not_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    owner = replace(HERE, pid=child.pid, started=psutil.Process(child.pid).create_time())
    try:
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)  # nothing tells when a child has become a zombie
        assert owner.is_known_dead()
    finally:
        child.wait()


@pytest.mark.parametrize("where", [{"boot_id": "another"}, {"pid_namespace": "pid:[1]"}, {"boot_id": ""}])
def test_nobody_knows_of_a_process_elsewhere_whether_it_lives(where):
    owner = replace(HERE, pid=2**22 + 1, **where)
    assert not owner.is_known_dead()
    assert not owner.is_known_alive()


def test_an_owner_survives_json_and_shows_who_it_is():
    assert Owner(**json.loads(json.dumps(asdict(HERE)))) == HERE
    assert str(replace(HERE, run_id="r", pid=7, host="h")) == "run r, process 7 on h"
