"""Sets up Ansible's way of finding collections before any test imports from ours; later it could not be."""

from hypothesis import settings

from tests import rolekit

COLLECTIONS = rolekit.ROOT / "collections"

# A busy machine is no fault of what is tested
settings.register_profile("landfall", deadline=None)
settings.load_profile("landfall")
