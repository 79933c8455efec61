"""The document of what an image holds: packages of the distribution are read as dpkg writes them."""

from __future__ import annotations

from typing import Any

import pytest

from scripts import sbom

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12+deb13u1
Description: GNU C Library: Shared libraries
 Package: none
 Version: 9

Package: gone
Status: deinstall ok config-files
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 1:3.152
"""
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'


def test_packages_that_are_installed_are_named_as_others_look_them_up() -> None:
    found: list[dict[str, Any]] = sbom.distribution(STATUS, sbom.fields(RELEASE))
    assert [one["purl"] for one in found] == [
        "pkg:deb/debian/adduser@1%3A3.152?arch=all&distro=debian-13",
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13",
    ]
    assert [(one["name"], one["version"]) for one in found] == [("adduser", "1:3.152"), ("libc6", "2.41-12+deb13u1")]


@pytest.mark.parametrize(
    ("image", "name", "version"),
    [
        ("landfall/app:1.0", "landfall/app", "1.0"),
        ("registry:5000/app:2@sha256:00", "registry:5000/app", "2"),
        ("registry:5000/app", "registry:5000/app", ""),
    ],
)
def test_it_is_about_the_image(image: str, name: str, version: str) -> None:
    python = {"bomFormat": "CycloneDX", "metadata": {"tools": []}, "components": [{"name": "celery"}]}
    document = sbom.whole(python, [{"name": "libc6"}], image)
    assert [one["name"] for one in document["components"]] == ["celery", "libc6"]
    about = document["metadata"]["component"]
    assert (about["name"], about["version"], about["type"]) == (name, version, "container")
