"""Making a change set, and dropping one without a trace."""

from __future__ import annotations

import secrets

from cli.deployment.assembly import Assembly
from cli.deployment.assets import publish
from cli.deployment.changes import is_empty
from cli.deployment.job import TAGS, Job
from cli.deployment.keys import KeyChoice
from cli.deployment.model import ChangeSet, ChangeSetRequest
from cli.errors import DeploymentError, TimedOutError

TEMPLATE_BODY_MAX_BYTES = 51_200  # CreateChangeSet's limit for TemplateBody; a larger one has to lie in S3
PATIENCE_S = 600.0  # a change set of a hundred resources takes half a minute on AWS
_MAKING = frozenset({"CREATE_PENDING", "CREATE_IN_PROGRESS"})


def make(job: Job, assembly: Assembly, key: KeyChoice, *, creating: bool) -> ChangeSet | None:
    """Make a change set and wait for it; None where nothing would change (nothing is left behind then).

    Raises
    ------
    DeploymentError
        CloudFormation refuses the changes.
    TimedOutError
        It doesn't get ready.
    """
    made = job.services.change_sets.create(_request(job, assembly, key, creating=creating))
    try:
        change_set = _waited_for(job, made)
        empty = is_empty(change_set.status, change_set.reason)
        if change_set.status != "CREATE_COMPLETE" and not empty:
            raise DeploymentError(f"CloudFormation refuses the changes: {change_set.reason or change_set.status}")
    except BaseException:
        drop(job, made, creating=creating)
        raise
    if empty or not change_set.changes:
        drop(job, made, creating=creating)
        return None
    return change_set


def drop(job: Job, change_set_id: str, *, creating: bool) -> None:
    """Remove a change set that nobody will execute, and the empty stack that one for a new stack comes with."""
    job.services.change_sets.delete(change_set_id)
    if not creating:
        return
    stack = job.services.stacks.describe(job.target.stack_name)
    if stack is not None and stack.status == "REVIEW_IN_PROGRESS":
        job.services.stacks.delete(stack.id, token())


def token() -> str:
    """A new client token: CloudFormation takes a repeated call with the same one as one call."""
    return f"esctl-{secrets.token_hex(8)}"


def _request(job: Job, assembly: Assembly, key: KeyChoice, *, creating: bool) -> ChangeSetRequest:
    body: str | None = assembly.template_text
    url = None
    if len(assembly.template_text.encode()) > TEMPLATE_BODY_MAX_BYTES:
        file = assembly.template_asset
        publish([file], job.services.assets)
        body, url = None, job.services.assets.url(file.bucket, file.key)
    return ChangeSetRequest(
        stack_name=job.target.stack_name,
        creating=creating,
        name=token(),
        parameters=(key.parameter,),
        tags={**assembly.tags, **TAGS},
        template_body=body,
        template_url=url,
    )


def _waited_for(job: Job, change_set_id: str) -> ChangeSet:
    until = job.pace.monotonic() + PATIENCE_S
    while (change_set := job.services.change_sets.describe(change_set_id)).status in _MAKING:
        if job.pace.monotonic() > until:
            raise TimedOutError(f"the change set is not ready after {PATIENCE_S:.0f} s", "Try again later.")
        job.pace.sleep(job.pace.poll_s)
    return change_set
