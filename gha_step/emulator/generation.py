"""Which GitHub is emulated: the few facts in which github.com and the GitHub Enterprise Server versions differ."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

API_2022 = "2022-11-28"
API_2026 = "2026-03-10"


@dataclass(frozen=True, slots=True)
class Generation:
    """One row of the table in facts/github-dispatch.md, "The endpoint"."""

    name: str
    enterprise: str | None  # the value of X-GitHub-Enterprise-Version; None on github.com
    inputs_max: int
    run_details: bool  # whether a dispatch can answer with the run's ID
    permits_key: bool  # whether the body may hold `return_run_details` (API version 2022-11-28)
    api_versions: tuple[str, ...]
    concurrency: bool = False  # whether it tells of concurrency groups
    refusal: int = 422  # the status of "… is not a permitted key"; servers were seen with 422 and 400

    @classmethod
    def named(cls, name: str, *, permits_key: bool | None = None, refusal: int = 422) -> Generation:
        """`github.com` or `ghes-3.N`. `permits_key` decides what is not certain of 3.20: whether it takes the
        key `return_run_details` and ignores it (as here by default) or refuses it. ValueError for other
        names."""
        found = cls._row(name)
        return replace(found, permits_key=found.permits_key if permits_key is None else permits_key, refusal=refusal)

    @classmethod
    def _row(cls, name: str) -> Generation:
        if name == "github.com":
            return cls(
                name, None, 25, run_details=True, permits_key=True, api_versions=(API_2022, API_2026), concurrency=True
            )
        server = re.fullmatch(r"ghes-3\.(\d{1,3})", name)
        if server is None:
            raise ValueError(
                f"unknown generation {name!r}: use github.com, ghes-3.19, ghes-3.20, ghes-3.21 or any ghes-3.N"
            )
        minor = int(server[1])
        return cls(
            name,
            enterprise=f"3.{minor}.0",
            inputs_max=25 if minor >= 20 else 10,
            run_details=minor >= 21,
            permits_key=minor >= 20,
            api_versions=(API_2022, API_2026) if minor >= 21 else (API_2022,),
        )

    @property
    def documentation(self) -> str:
        """Where this server's error bodies point."""
        return (
            "https://docs.github.com/rest"
            if self.enterprise is None
            else f"https://docs.github.com/enterprise-server@{self.enterprise[:-2]}/rest"
        )
