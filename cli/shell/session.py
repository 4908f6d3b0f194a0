"""What a command receives: environment, output, and the target it talks to, each created on first use."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from cli.config.selection import Choice, Targets
from cli.config.settings import Settings, load
from cli.config.state import State
from cli.config.targets import AwsTarget, LocalTarget, Target
from cli.errors import EmulatorError
from cli.terminal.environment import Environment
from cli.terminal.output import Output

if TYPE_CHECKING:
    from cli.client.aws import Clients
    from cli.client.service import Service
    from cli.emulator import Emulator


class Session:
    """One run of one command."""

    def __init__(self, environment: Environment, output: Output, choice: Choice | None = None) -> None:
        self.environment = environment
        self.output = output
        self.choice = choice or Choice()

    @cached_property
    def settings(self) -> Settings:
        return load(self.environment)

    @cached_property
    def state(self) -> State:
        return State.of(self.environment)

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.state)

    @cached_property
    def emulator(self) -> Emulator:
        from cli.emulator import Emulator

        return Emulator(self.state, self.environment)

    @cached_property
    def target(self) -> Target:
        target = self.targets.resolve(self.choice, self.settings)
        if isinstance(target, LocalTarget):
            target = self.on_emulator(target)
        if not target.outputs:  # it was not deployed from here, or its record is damaged
            from cli.client.aws import look_up

            target = look_up(target)
            self.targets.remember(target, current=False)
        return target

    @cached_property
    def clients(self) -> Clients:
        return self.clients_for(self.target)

    @cached_property
    def service(self) -> Service:
        return self.service_for(self.target)

    def service_for(self, target: Target) -> Service:
        from cli.client.aws import key_for_calls
        from cli.client.http import HttpClient
        from cli.client.service import Service

        clients = self.clients_for(target)
        key = key_for_calls(target, self.settings, self.state, clients)
        environment = self.environment
        http = HttpClient(target, key, clients.credentials, sleep=environment.sleep, variables=environment.variables)
        return Service(http)

    def clients_for(self, target: Target) -> Clients:
        from cli.client.aws import Clients

        return Clients(target)

    def announce(self, doing: str) -> None:
        """Announce a change on AWS: ``Resuming items on stack esctl in 123456789012/eu-west-1``."""
        target = self.target
        if not isinstance(target, AwsTarget):
            return
        if target.account is None:
            from cli.client.aws import account_of

            target = replace(target, account=account_of(self.clients))
        self.output.message(f"{doing} on {target.label}")

    def on_emulator(self, target: Target) -> Target:
        """Return the local target with the emulator's present or last address, and its access key while it runs."""
        from cli.config.keys import local_access_key, local_access_key_path
        from cli.emulator.process import is_alive, last_endpoint

        access_key = None
        if is_alive(self.state):
            access_key = local_access_key(self.state)
            if access_key is None:
                raise EmulatorError(
                    f"the local target's access key is missing or damaged: {local_access_key_path(self.state)}",
                    "Restart it with a new one; its data is kept:  esctl local start",
                )
        return target.with_endpoint(last_endpoint(self.state), access_key)
