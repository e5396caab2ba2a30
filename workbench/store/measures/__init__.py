"""The events of the measures of a trace, a module each.

Every module of this package is imported here, so that a database is read whichever measures it
holds: a new measure is a new module and nothing else.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
