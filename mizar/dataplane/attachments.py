# SPDX-License-Identifier: Apache-2.0
"""Which program runs on which interface, kept in the kernel alone.

One pin per attachment, named ROLE-HOOK-IFINDEX: "endpoint-tcx-12", "transit-xdp-2". The pin is
the link, or, for clsact, which has none, the program. So the directory is the whole state: a new
agent reads it, and nothing can disagree with it.

What holds:
 - attach() is idempotent and exchanges a program without a gap.
 - A pin whose interface is gone is removed whenever it is met.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib

from mizar import errors
from mizar.dataplane import links, programs
from mizar.dataplane.protocol import Hook


class Role(enum.StrEnum):
    ENDPOINT = "endpoint"
    TRANSIT = "transit"


@dataclasses.dataclass(frozen=True)
class Attachment:
    role: Role
    hook: Hook
    ifindex: int

    @property
    def pin(self) -> str:
        return f"{self.role}-{self.hook}-{self.ifindex}"


def _parse(pin: str) -> Attachment | None:
    """The attachment of a pin's name; None for a pin that is none (half made, or a stranger's)."""
    role, _, rest = pin.partition("-")
    hook, _, ifindex = rest.rpartition("-")
    if role not in list(Role) or hook not in list(Hook) or not ifindex.isdecimal():
        return None
    return Attachment(Role(role), Hook(hook), int(ifindex))


def _create(attachment: Attachment, program: programs.Program) -> links.Link:
    match attachment.hook:
        case Hook.XDP:
            return links.Link.xdp(program, attachment.ifindex, links.XdpMode.NATIVE)
        case Hook.XDP_GENERIC:
            return links.Link.xdp(program, attachment.ifindex, links.XdpMode.GENERIC)
        case _:
            return links.Link.tcx(program, attachment.ifindex)


class Attachments:
    """The directory of pins. Not thread safe: the owner serialises."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def pinned(self) -> list[Attachment]:
        """All that is pinned, whether the interface still exists or not."""
        if not self._directory.exists():  # destroyed
            return []
        found = (_parse(path.name) for path in self._directory.iterdir())
        return [attachment for attachment in found if attachment is not None]

    def live(self, role: Role) -> list[Attachment]:
        """Attachments of a role whose interface exists; the pins of others go."""
        return [a for a in self.pinned() if a.role is role and self._is_live(a)]

    def attach(self, attachment: Attachment, program: programs.Program) -> None:
        """Run `program` there: from now on, or instead of another one, or still."""
        path, running = self._path(attachment), self._running(attachment)
        if running == program.id:
            return
        if attachment.hook is Hook.CLSACT:
            links.clsact_attach(program, attachment.ifindex)
            program.pin(path)
        elif running is None:
            path.unlink(missing_ok=True)
            with _create(attachment, program) as link:
                link.pin(path)
        else:
            with links.Link.pinned(path) as link:
                link.update(program)

    def detach(self, attachment: Attachment) -> None:
        """End it; no error if there is none."""
        path = self._path(attachment)
        if not path.exists():
            return
        if attachment.hook is Hook.CLSACT:
            links.clsact_detach(attachment.ifindex)
        else:
            with links.Link.pinned(path) as link:
                link.detach()
        path.unlink(missing_ok=True)

    # ------------------------------------------------------------ how

    def _path(self, attachment: Attachment) -> pathlib.Path:
        return self._directory / attachment.pin

    def _running(self, attachment: Attachment) -> int | None:
        """Id of the program that runs there, None if nothing does."""
        if not self._path(attachment).exists():
            return None
        if attachment.hook is Hook.CLSACT:
            return links.clsact_program(attachment.ifindex)
        with links.Link.pinned(self._path(attachment)) as link:
            info = link.info()
        return info.program_id if info.ifindex == attachment.ifindex else None

    def _is_live(self, attachment: Attachment) -> bool:
        if self._running(attachment) is not None:
            return True
        self._path(attachment).unlink(missing_ok=True)
        return False


def try_attach(
    attachments: Attachments, attachment: Attachment, program: programs.Program
) -> errors.KernelError | None:
    """attach(), with the refusal as value: the caller has another hook to try."""
    try:
        attachments.attach(attachment, program)
    except errors.KernelError as exc:
        return exc
    return None
