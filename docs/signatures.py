"""An extension of griffe: the API page spells a Loader's `**options` out, as `help(dm.Loader)` does."""

from typing import Any

import griffe

OPTIONS = "options.LoaderOptions"
# Where each function is, and the TypedDicts whose names it takes.
FUNCTIONS = {
    "loader.Loader.__init__": ("options.SharedKeywords", "options.LoaderKeywords"),
    "translation.from_dataloader.from_dataloader": ("options.SharedKeywords",),
}


class SpelledOut(griffe.Extension):
    """Options by name, type and default in the place of `**options: Unpack[...]`, in the order of `LoaderOptions`."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change the two functions that pass options on."""
        for path, keywords in FUNCTIONS.items():
            function = pkg[path]
            del function.parameters["options"]
            taken = {name for each in keywords for name in pkg[each].members}
            for name, option in pkg[OPTIONS].attributes.items():
                if name in taken:
                    kind, default = griffe.ParameterKind.keyword_only, option.value
                    given = griffe.Parameter(name, annotation=option.annotation, kind=kind, default=default)
                    function.parameters.add(given)
