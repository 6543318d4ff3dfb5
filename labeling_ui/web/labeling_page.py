"""The labeling page, as a Gradio app: an empty frame in which `static/page/` runs.

Cards and answers travel as JSON (`api.py`), so that the next card is on the screen before the answer has reached
the server, and a lost connection or a reload loses nothing. The page holds nothing that matters: who answers comes
from the session, what is answered from a signed ticket (`card_tickets.py`). Model text reaches the document only as
text nodes. Left out on purpose: sign-in and the web server (`app.py`), the admin page (`admin/`).
"""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).with_name("static")
TITLE = "Which response is better?"
# Modules are loaded relative to the page, wherever the app is mounted.
_LOAD = """
const root = element.querySelector("#page");
import(new URL("page/MODULE", document.baseURI).href)
  .then((page) => page.start(root))
  .catch((error) => { root.textContent = `This page could not be started: ${error.message}`; });
"""


def build_labeling_page(title: str = TITLE, module: str = "main.js") -> gr.Blocks:
    """The Gradio page, which starts a module; what that shows comes from the routes of the same server."""
    blocks: gr.Blocks = gr.Blocks(title=title, analytics_enabled=False, fill_width=True)
    with blocks:
        load = _LOAD.replace("MODULE", module)
        gr.HTML('<div id="page"></div>', js_on_load=load, apply_default_css=False, elem_id="labeling")
    return blocks
