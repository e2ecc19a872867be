"""The recipe for systemd, which runs the command once a day."""

from configparser import ConfigParser
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

import recipes


@pytest.mark.django_db(transaction=True)
def test_service_runs_the_command():
    unit = ConfigParser(interpolation=None)
    unit.read(Path(recipes.__file__).with_name("attachments.service"))
    service, stdout = unit["Service"], StringIO()
    python, program, *arguments = service["ExecStart"].split()

    call_command(*arguments, stdout=stdout)

    assert python.startswith(f"{service['WorkingDirectory']}/")
    assert program == "manage.py"
    assert stdout.getvalue().startswith("Removed 0 attachments")
