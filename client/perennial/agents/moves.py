"""Moves of aliases, which a person agrees to before they happen.

The question names what the alias points at and its revision, the version that it would point at
and what the gate says of it, also what a promotion needs the agent's reason for. An answer counts
for exactly this question: the alias is moved from this revision alone and by what the gate said,
and if either has changed meanwhile, nothing moves until the person is asked again.
"""

import json
from typing import Annotated

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from perennial.agents.service import Call, service_of
from perennial.terminal.output import told_alias
from perennial.terminal.session import sentences
from perennial.types import Alias, Preview

LONGEST_REASON = 300

Reason = Annotated[
    str,
    Field(max_length=LONGEST_REASON, description="Reason, kept in the alias's history."),
]
Target = Annotated[str, Field(description="The alias to move.")]


class Consent(BaseModel):
    """A person's answer."""

    agree: bool = Field(title="Move it", description="Yes moves the alias at once.")


async def present_alias(call: Call, model: str, alias: str) -> Alias:
    """Return the alias as it is now. Raises ToolError if there is none."""
    async with service_of(call).client() as client:
        return await client.aliases.get(model, alias)


Present = Annotated[Alias, Resolve(present_alias)]


async def preview_promotion(call: Call, model: str, version: int, alias: str) -> Preview:
    """Return how a promotion without a reason would end now."""
    async with service_of(call).client() as client:
        return await client.aliases.preview(model, version, alias=alias)


Previewed = Annotated[Preview, Resolve(preview_promotion)]


async def ask_to_promote(
    call: Call, version: int, reason: str, present: Present, preview: Previewed
) -> Elicit[Consent]:
    """Ask a person for a promotion, and say what the service asks a reason for."""
    needed = preview["refusal"]
    told = [] if needed is None else [f"Without a reason, this is refused: {needed['detail']}"]
    return await _ask(call, "Promote", version, reason, present, *told)


async def ask_to_roll_back(call: Call, to: int, reason: str, present: Present) -> Elicit[Consent]:
    """Ask a person for a rollback."""
    return await _ask(call, "Roll back to", to, reason, present)


async def promote(
    call: Call,
    model: str,
    version: int,
    reason: Reason,
    present: Present,
    preview: Previewed,
    consent: Annotated[ElicitationResult[Consent], Resolve(ask_to_promote)],
    alias: Target = "production",
) -> str:
    """Point an alias at a version, so that it answers the users. A person is asked first."""
    require_consent(consent)
    async with service_of(call).client() as client:
        moved = await client.aliases.promote(
            model,
            version,
            alias=alias,
            reason=reason,
            expected_revision=present["revision"],
            decided_on=preview["decided_on"],
        )
    return told_alias(moved)


async def roll_back(
    call: Call,
    model: str,
    to: Annotated[int, Field(description="A version that was live before.")],
    reason: Reason,
    present: Present,
    consent: Annotated[ElicitationResult[Consent], Resolve(ask_to_roll_back)],
    alias: Target = "production",
) -> str:
    """Point an alias back at a version that was live before. A person is asked first."""
    require_consent(consent)
    async with service_of(call).client() as client:
        moved = await client.aliases.roll_back(
            model, to=to, alias=alias, reason=reason, expected_revision=present["revision"]
        )
    return told_alias(moved)


def require_consent(consent: ElicitationResult[Consent]) -> None:
    """Raise ToolError unless a person has agreed."""
    if not (isinstance(consent, AcceptedElicitation) and consent.data.agree):
        raise ToolError("The person did not agree, so nothing was moved.")


def quoted(text: str) -> str:
    """Return a text in quotation marks, with escapes for what breaks or turns lines or is unseen.

    So an agent's words cannot look like lines of the question.
    """
    return "".join(
        letter if letter.isprintable() else json.dumps(letter)[1:-1]
        for letter in json.dumps(text, ensure_ascii=False)
    )


async def _ask(
    call: Call, verb: str, version: int, reason: str, present: Alias, *more: str
) -> Elicit[Consent]:
    """Return the question. Raises ToolError if the caller's program cannot ask a person."""
    model, alias = present["model"], f"{present['model']}@{present['alias']}"
    able = call.client_capabilities.elicitation if call.client_capabilities else None
    if able is None or (able.form is None and able.url is not None):
        raise ToolError(
            "A person must agree to this, and your program cannot ask one (it does not support "
            f"elicitation), so nothing was moved: {alias} is version {present['version']}."
        )
    async with service_of(call).client() as client:
        found = await client.versions.get(model, version)
        facts = sentences(await client.versions.report(model, version)) if found["verdict"] else ()
    lines = [
        f"{verb} version {version} of {model}: shall {alias} point at it?",
        f"{alias} is version {present['version']} (revision {present['revision']}).",
        f"Gate on version {version}: {found['verdict'] or 'no verdict'}.",
        *facts,
        *more,
        f"The agent's reason: {quoted(reason)}",
    ]
    return Elicit("\n".join(lines), Consent)
