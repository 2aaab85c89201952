"""`foundsound evaluate WHAT`: a verb with verbs of its own, since each evaluation has options of its own."""

from cyclopts import App, Parameter

from pipelines.evaluations import EVALUATIONS


def make_evaluate() -> App:
    """The commands below `evaluate`; without one it shows what there is."""
    app = App(name="evaluate", default_parameter=Parameter(negative=()))
    for order, (name, (place, sentence)) in enumerate(EVALUATIONS.items()):
        app.command(place, name=name, help=sentence, sort_key=order)
    return app


evaluate = make_evaluate()
