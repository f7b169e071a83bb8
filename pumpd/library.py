"""The clinic's own tables: the drug library (S8) and the syringes, read from TOML and refused early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

from pumpd.core.limits import DRUG_CLASSES, STRONG, CourseLimits, DrugLimits, Span
from pumpd.toml_file import ConfigError, Model, Table, fill, read_toml
from pumpd.units import Ml

PACKAGE = Path(__file__).parent
Number: TypeAlias = Annotated[Decimal, Field(strict=False, ge=0, allow_inf_nan=False)]
Positive: TypeAlias = Annotated[Decimal, Field(strict=False, gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class DrugLibrary:
    """The drugs a session may give, and which file said so."""

    version: str
    sha256: str
    drugs: Mapping[str, DrugLimits]


@dataclass(frozen=True, slots=True)
class Syringe:
    """One syringe type. Its inner diameter turns travel into volume: a wrong one is a rate error of its square."""

    make: str
    size: Ml
    diameter_mm: Decimal
    verified_by: str  # who measured or compared it, and when; "" while nobody has
    source: str

    def refusal(self, simulated: bool) -> str | None:
        """Why it cannot be used; None when it can. In the simulator an unverified diameter harms nobody."""
        if self.verified_by or simulated:
            return None
        return (
            f"{self.make} {self.size}: its diameter {self.diameter_mm} mm is not verified ({self.source}); "
            "compare it with the pump's manual or measure it, then fill in verified_by"
        )


class _Span(Table):
    hard_min: Number | None = Field(default=None, description="a number, in the unit that the limit's name ends in")
    soft_min: Number | None = Field(default=None, description="a number, in the unit that the limit's name ends in")
    soft_max: Number | None = Field(default=None, description="a number, in the unit that the limit's name ends in")
    hard_max: Number = Field(description="a number, in the unit that the limit's name ends in")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        given = [limit for limit in (self.hard_min, self.soft_min, self.soft_max, self.hard_max) if limit is not None]
        if given != sorted(given):
            raise ValueError("expected hard_min <= soft_min <= soft_max <= hard_max")
        return self

    @property
    def span(self) -> Span:
        return Span(self.hard_min, self.soft_min, self.soft_max, self.hard_max)


class _Course(Table):
    sessions_max: int = Field(default=10, ge=1, le=100, description="a whole number of sessions")
    sessions_per_week_max: int = Field(default=3, ge=1, le=7, description="a whole number of sessions, 1 to 7")
    days_between_min: int = Field(default=2, ge=0, le=60, description="a whole number of days, up to 60")
    weight_change_max_pct: Positive = Field(default=Decimal(10), le=50, description="a percentage up to 50")
    flagged_classes: tuple[str, ...] = Field(
        default=CourseLimits().flagged_classes, strict=False, description="a list of drug classes"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [name for name in self.flagged_classes if name not in DRUG_CLASSES]
        if unknown:
            raise ValueError(f"no such drug class: {', '.join(unknown)}; there are: {', '.join(DRUG_CLASSES)}")
        return self

    @property
    def limits(self) -> CourseLimits:
        return CourseLimits(
            self.sessions_max,
            self.sessions_per_week_max,
            self.days_between_min,
            self.weight_change_max_pct,
            self.flagged_classes,
        )


class _Drug(Table):
    dose_mg_kg: _Span = Field(description="limits on the dose by body weight, mg/kg")
    duration_min: _Span = Field(description="limits on the planned duration, min")
    weight_kg: _Span = Field(description="limits on the body weight, kg")
    dose_mg: _Span = Field(description="limits on the dose of one session, mg")
    mass_rate_mg_kg_h: _Span = Field(description="limits on the mass rate, mg/kg/h")
    concentrations_mg_ml: tuple[Positive, ...] = Field(
        strict=False, min_length=1, description="a list of concentrations above 0, mg/mL"
    )
    concentrations_soft_mg_ml: tuple[Positive, ...] = Field(
        default=(), strict=False, description="a list of concentrations above 0 that need a person and a reason, mg/mL"
    )
    course: _Course = Field(default=_Course(), description="limits on a course of sessions")

    @model_validator(mode="after")
    def _once(self) -> Self:
        both = set(self.concentrations_mg_ml) & set(self.concentrations_soft_mg_ml)
        if both:
            listed = ", ".join(str(each) for each in sorted(both))
            raise ValueError(f"concentration {listed} mg/mL stands in both lists; expected it in one")
        strong = [each for each in self.concentrations_mg_ml if each >= STRONG.value]
        if strong:
            raise ValueError(f"concentration {strong[0]} mg/mL is always soft; expected in concentrations_soft_mg_ml")
        return self

    def limits(self, drug: str, version: str, digest: str) -> DrugLimits:
        return DrugLimits(
            drug,
            version,
            self.dose_mg_kg.span,
            self.duration_min.span,
            self.weight_kg.span,
            self.dose_mg.span,
            self.mass_rate_mg_kg_h.span,
            self.concentrations_mg_ml,
            self.concentrations_soft_mg_ml,
            self.course.limits,
            digest,
        )


class _Library(Table):
    version: str = Field(min_length=1, description="the version of this library, as text")
    drug: dict[str, _Drug] = Field(min_length=1, description="a section [drug.<name>] for each drug")


class _Syringe(Table):
    make: str = Field(min_length=1, description="the maker and type, as on the barrel")
    size_ml: Positive = Field(description="the nominal size, mL")
    diameter_mm: Annotated[Positive, Field(le=60)] = Field(description="the inner diameter, up to 60 mm")
    verified_by: str = Field(description='who verified the diameter, how and when; "" while nobody has')
    source: str = Field(min_length=1, description="where the diameter is from")


class _Syringes(Table):
    syringe: tuple[_Syringe, ...] = Field(strict=False, description="a section [[syringe]] for each type")

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen: set[tuple[str, Decimal]] = set()
        for each in self.syringe:
            if (each.make, each.size_ml) in seen:
                raise ValueError(f"{each.make} {each.size_ml} mL stands in the table twice")
            seen.add((each.make, each.size_ml))
        return self


def load_drug_library(path: Path) -> DrugLibrary:
    """Read a drug library. Raises ConfigError with one line for every problem."""
    library = _load(_Library, path)
    digest = sha256(path.read_bytes()).hexdigest()
    drugs = {name: drug.limits(name, library.version, digest) for name, drug in library.drug.items()}
    return DrugLibrary(library.version, digest, drugs)


def load_syringes(path: Path) -> tuple[Syringe, ...]:
    """Read a table of syringes. Raises ConfigError with one line for every problem."""
    return tuple(
        Syringe(each.make, Ml(each.size_ml), each.diameter_mm, each.verified_by.strip(), each.source)
        for each in _load(_Syringes, path).syringe
    )


def _load(model: type[Model], path: Path) -> Model:
    loaded, problems = fill(model, read_toml(path), path)
    if loaded is None:
        raise ConfigError(problems)
    return loaded


def share_file(name: str) -> Path:
    """A file that came with pumpd: from `config/` in a checkout, else from the installed package."""
    for folder in (PACKAGE.parent / "config", PACKAGE / "share"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{name} did not come with this installation of pumpd")
