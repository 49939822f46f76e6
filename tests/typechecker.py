"""How annotations are checked while the tests run: as PEP 484 means them, so that an int will do for a float."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
