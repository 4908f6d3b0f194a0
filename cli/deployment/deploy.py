"""Deploying: check → plan → show → execute → follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cli.deployment.assembly import Assembly, fingerprint, load
from cli.deployment.assets import check_present, publish
from cli.deployment.changes import all_new, losing_data
from cli.deployment.changeset import drop, make, token
from cli.deployment.follow import EventReader, Outcome
from cli.deployment.job import Job, failure
from cli.deployment.keys import KeyChoice, choose_key, keep_key
from cli.deployment.model import Action, Change, ChangeSet, Stack, Template
from cli.deployment.states import Judgement, Verdict, esctl, judge, settled_well
from cli.deployment.widening import Widening, widenings
from cli.errors import CliError, DeploymentError
from stack.settings import StackSettings


@dataclass(frozen=True, slots=True)
class Result:
    """What was found out or done.

    Attributes
    ----------
    action
        ``created``, ``updated``, ``unchanged``; for a plan that isn't executed ``create``, ``update`` or ``unchanged``.
    stack
        None while there is none.
    """

    action: str
    stack: Stack | None
    changes: tuple[Change, ...] = ()
    widenings: tuple[Widening, ...] = ()


def deploy(job: Job) -> Result:
    """Bring the stack to what code and settings say.

    Raises
    ------
    CliError
        With the first cause of a failure, the state the stack is in, and the command that mends it.
    """
    job, stack = _ready(job, job.stack())
    last = job.records.of(job.target)
    key = choose_key(job.settings, job.target, stack, last, job.state)
    mark = _mark(job)
    if stack is not None and not key.changed and last.is_of(stack, mark):
        return _finished(job, Result("unchanged", stack), mark, key)
    assembly = _assembly(job, mark)
    result = _create(job, assembly, key) if stack is None else _update(job, assembly, key, stack)
    return _finished(job, result, mark, key)


def diff(job: Job) -> Result:
    """Show what `deploy` would do; nothing is left behind.

    Raises
    ------
    CliError
        An operation runs, or the stack is in a state that allows none.
    """
    stack = job.stack()
    judgement = judge(stack, job.target)
    if judgement.verdict is Verdict.FOLLOW:
        raise DeploymentError(
            f"can't compare yet: {job.target.label} is {stack.status if stack else ''}",
            f"Follow it to its end:  {esctl('deploy', job.target)}",
        )
    if judgement.verdict is Verdict.STUCK:
        raise _stuck(job, judgement)
    assembly = _assembly(job, _mark(job))
    if stack is None or judgement.verdict is not Verdict.UPDATE:
        changes = all_new(assembly.template)
        job.reporter.plan(changes, ())
        return Result("create", None, changes)
    last = job.records.of(job.target)
    key = choose_key(job.settings, job.target, stack, last, job.state)
    with job.reporter.working("comparing with what is deployed"):
        change_set = make(job, assembly, key, creating=False)
    if change_set is None:
        return Result("unchanged", stack)
    drop(job, change_set.id, creating=False)
    widened = _widened(job, stack, assembly.template)
    job.reporter.plan(change_set.changes, widened)
    return Result("update", stack, change_set.changes, widened)


def _ready(job: Job, stack: Stack | None) -> tuple[Job, Stack | None]:
    """Bring the stack into a state that can be deployed to; None where it has to be created.

    The job comes back too: who agrees to make a stack anew has agreed to its creation.
    """
    judgement = judge(stack, job.target)
    if stack is None or judgement.verdict is Verdict.CREATE:
        return job, None
    if judgement.verdict is Verdict.FOLLOW:
        return _attached(job, stack)
    if judgement.verdict is Verdict.STUCK:
        raise _stuck(job, judgement)
    if judgement.verdict is Verdict.RECREATE:
        job.reporter.say(f"{job.target.label}: {judgement.why}.")
        # What the failed creation left was never in use; still it is AWS that we delete on.
        if not job.target.is_local and not job.yes and not job.reporter.confirm("Delete it and make it anew?"):
            raise _declined()
        _delete(job, stack)
        return replace(job, yes=True), None
    return job, stack


def _attached(job: Job, stack: Stack) -> tuple[Job, Stack | None]:
    """Follow what runs already (begun by an earlier call, or by somebody else), then look again."""
    job.reporter.say(f"{job.target.label} is {stack.status}: following it to its end first.")
    reader = EventReader.from_operation(job.services.stacks, stack.id)
    outcome = job.watch(reader, f"Deploying {stack.name}")
    if outcome.stack.status != "DELETE_COMPLETE" and not settled_well(outcome.stack):
        raise failure("the deployment", outcome, job.target, _next(job, outcome.stack))
    return _ready(job, job.stack())


def _delete(job: Job, stack: Stack) -> None:
    reader = EventReader.from_now(job.services.stacks, stack.id)
    job.services.stacks.delete(stack.id, token())
    outcome = job.watch(reader, f"Removing what is left of {stack.name}")
    if outcome.stack.status != "DELETE_COMPLETE":
        raise failure("the deletion", outcome, job.target, f"See:  {esctl('destroy', job.target)}")
    for event in outcome.skipped():
        job.reporter.say(f"left behind by the failed creation: {event.resource_type} {event.physical_id}")


def _create(job: Job, assembly: Assembly, key: KeyChoice) -> Result:
    changes = all_new(assembly.template)
    if job.target.is_local:
        _spare_kept_events(job)
    else:
        job.reporter.plan(changes, ())
        where = f"account {job.target.account}, region {job.target.region}"
        question = f"Create stack {job.target.stack_name} with {len(changes)} resources in {where}?"
        if not job.yes and not job.reporter.confirm(question):
            raise _declined()
    _publish(job, assembly)
    with job.reporter.working("preparing the stack"):
        change_set = make(job, assembly, key, creating=True)
    if change_set is None:
        raise DeploymentError("the template holds no resource: nothing to deploy")
    outcome = _execute(job, assembly, change_set, creating=True)
    return Result("created", outcome.stack, changes)


def _spare_kept_events(job: Job) -> None:
    """Ask before events that `destroy` kept are lost.

    The emulator derives a table's name from the stack's, and a new table takes the place of an older one of its name.
    On AWS every new table has a new name.
    """
    tables = [each for each in job.records.of(job.target).kept_tables if job.services.tables.holds_items(each)]
    if not tables or job.yes:
        return
    job.reporter.say(f"events of the stack before are still kept in {', '.join(tables)}")
    if not job.reporter.confirm("The new stack takes their place: they are lost. Go on?"):
        raise _declined()


def _update(job: Job, assembly: Assembly, key: KeyChoice, stack: Stack) -> Result:
    with job.reporter.working("comparing with what is deployed"):
        change_set = make(job, assembly, key, creating=False)
    if change_set is None:
        return Result("unchanged", stack)
    try:
        widened = _widened(job, stack, assembly.template)
        job.reporter.plan(change_set.changes, widened)
        _ask(job, change_set.changes, widened)
        _publish(job, assembly)
    except BaseException:
        drop(job, change_set.id, creating=False)
        raise
    outcome = _execute(job, assembly, change_set, creating=False)
    return Result("updated", outcome.stack, change_set.changes, widened)


def _ask(job: Job, changes: Sequence[Change], widened: Sequence[Widening]) -> None:
    """Ask where data may be lost, and on AWS where permissions widen: the local target is nobody else's."""
    reasons = []
    # The emulator calls every change of a type it doesn't know well a conditional replacement; AWS means it.
    losing = losing_data(changes, perhaps=not job.target.is_local)
    if losing:
        names = ", ".join(each.logical_id for each in losing)
        sure = all(each.action is not Action.MAY_REPLACE for each in losing)
        reasons.append(f"{'replaces or removes' if sure else 'may replace'} {names}: what is in it is lost")
    if widened and not job.target.is_local:
        reasons.append(f"permits {len(widened)} thing{'s'[: len(widened) > 1]} more than before")
    if reasons and not job.yes and not job.reporter.confirm(f"This {' and '.join(reasons)}. Go on?"):
        raise _declined()


def _execute(job: Job, assembly: Assembly, change_set: ChangeSet, *, creating: bool) -> Outcome:
    services = job.services
    try:
        check_present(assembly.code, services.assets)
        reader = EventReader.from_now(services.stacks, change_set.stack_id)
        services.change_sets.execute(change_set.id, token())
    except BaseException:
        drop(job, change_set.id, creating=creating)
        raise
    title = f"{'Creating' if creating else 'Updating'} {job.target.stack_name}"
    outcome = job.watch(reader, title, expected=len(change_set.changes))
    if not settled_well(outcome.stack):
        raise failure("the deployment", outcome, job.target, _next(job, outcome.stack))
    return outcome


def _publish(job: Job, assembly: Assembly) -> None:
    with job.reporter.working("publishing the code"):
        uploaded = publish(assembly.code, job.services.assets)
    for asset in uploaded:
        job.reporter.say(f"uploaded the code ({asset.path.stat().st_size / 1e6:.1f} MB) to {asset.bucket}")


def _mark(job: Job) -> str:
    return fingerprint(job.sources(), _stack_settings(job), validate=_validates(job))


def _assembly(job: Job, mark: str) -> Assembly:
    path = job.assemblies.path(mark)
    if path is None:
        with job.reporter.working("synthesizing the stack"):
            path = job.assemblies.make(mark, _stack_settings(job), validate=_validates(job))
    return load(path, job.target)


def _validates(job: Job) -> bool:
    # The CDK's own validation takes most of a synthesis; it is about AWS, so there it is worth it.
    return not job.target.is_local


def _stack_settings(job: Job) -> StackSettings:
    chosen = job.settings
    return StackSettings(
        stack_name=job.target.stack_name, tracing=chosen.tracing, strict=chosen.strict, auth=chosen.auth
    )


def _widened(job: Job, stack: Stack, template: Template) -> tuple[Widening, ...]:
    return tuple(widenings(job.services.stacks.template(stack.id), template))


def _finished(job: Job, result: Result, mark: str, key: KeyChoice) -> Result:
    """Remember what is deployed now; it becomes the current target."""
    stack = result.stack
    if stack is None:
        return result
    job.records.deployed(job.target, stack, mark, key.value)
    keep_key(job.settings, job.target, job.state)
    target = job.target.with_outputs(stack.outputs)
    job.targets.remember(target)
    for step in job.after:
        step(target)
    return result


def _next(job: Job, stack: Stack) -> str:
    """What to type after a deployment that failed."""
    judgement = judge(stack, job.target)
    if judgement.verdict is Verdict.STUCK:
        return f"Mend it:  {judgement.mend}"
    rest = "What is left of it goes first." if judgement.verdict is Verdict.RECREATE else "All is as it was before."
    return f"{rest} Mend the cause, then:  {esctl('deploy', job.target)}"


def _stuck(job: Job, judgement: Judgement) -> DeploymentError:
    return DeploymentError(f"can't deploy to {job.target.label}: {judgement.why}", f"Mend it:  {judgement.mend}")


def _declined() -> CliError:
    return CliError("nothing was changed: you said no")
