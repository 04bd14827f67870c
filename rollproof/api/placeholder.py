"""Values that exist only after a deployment: an ARN, an address, a generated name.

A placeholder is text, so that it can stand wherever the value would, and reads as what it is: `<TargetGroup>`
for a Ref, `<LoadBalancer.DNSName>` for an attribute. Text composed of one is a placeholder too.
"""

from __future__ import annotations


class Placeholder(str):
    """Text some part of which is not known yet.

    `logical_id` and `attribute` ("" for a Ref) are set when it stands for exactly one value of one resource of
    the template called `template`; else they are empty. `atoms` are the placeholders it is composed of, itself if
    it is not.
    """

    __slots__ = ("_parts", "attribute", "logical_id", "template")

    logical_id: str
    attribute: str
    template: str
    _parts: tuple[Placeholder, ...]

    def __new__(
        cls,
        text: str,
        *,
        logical_id: str = "",
        attribute: str = "",
        template: str = "",
        parts: tuple[Placeholder, ...] = (),
    ) -> Placeholder:
        self = super().__new__(cls, text)
        self.logical_id = logical_id
        self.attribute = attribute
        self.template = template
        self._parts = parts
        return self

    @classmethod
    def of(cls, template: str, logical_id: str, attribute: str = "") -> Placeholder:
        """What a Ref (no attribute) or GetAtt of a resource will be."""
        text = f"<{logical_id}.{attribute}>" if attribute else f"<{logical_id}>"
        return cls(text, logical_id=logical_id, attribute=attribute, template=template)

    @property
    def atoms(self) -> tuple[Placeholder, ...]:
        return self._parts or (self,)


def joined(parts: list[str]) -> str:
    """The parts as one text; a placeholder as soon as one of them is. A single part stays the value it is."""
    if len(parts) == 1:
        return parts[0]
    atoms = tuple(atom for part in parts if isinstance(part, Placeholder) for atom in part.atoms)
    text = "".join(parts)
    return Placeholder(text, parts=atoms) if atoms else text


def split(text: str, separator: str) -> list[str] | Placeholder:
    """`text` cut at `separator`, each piece the placeholder it shows, if any.

    What cannot be cut before it is known becomes one placeholder: "<Role.Arn> split at '/'".
    """
    if not isinstance(text, Placeholder):
        return text.split(separator)
    if text.atoms == (text,) or any(separator in atom for atom in text.atoms):
        return Placeholder(f"{text} split at {separator!r}")
    return [_piece(piece, text.atoms) for piece in text.split(separator)]


def _piece(piece: str, atoms: tuple[Placeholder, ...]) -> str:
    inside = tuple(atom for atom in atoms if atom in piece)
    if len(inside) == 1 and inside[0] == piece:
        return inside[0]
    return Placeholder(piece, parts=inside) if inside else piece
