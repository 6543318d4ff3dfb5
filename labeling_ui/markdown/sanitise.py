"""The last word on HTML that was made of untrusted text: an allow-list of elements and attributes, by nh3."""

import nh3

_TEXT = "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong s mark table thead tbody tr th td div span"
_MATH = (
    "math semantics mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable "
    "mtr mtd mstyle mpadded mphantom mmultiscripts mprescripts none"
)
_OWN_CLASSES = ("image", "link", "address", "formula")
_DIRECTED = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "li", "blockquote", "table", "td", "th")
_ATTRIBUTES = {tag: {"dir"} for tag in _DIRECTED} | {
    "td": {"dir", "align"},
    "th": {"dir", "align"},
    "ol": {"start", "dir"},
    "span": {"class"},
    "div": {"class"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "form", "lspace", "rspace", "minsize", "maxsize", "movablelimits"},
    "mi": {"mathvariant"},
    "mtable": {"columnalign", "rowspacing", "columnspacing"},
    "mtd": {"columnalign"},
    "mfrac": {"linethickness"},
    "mspace": {"width"},
    "mstyle": {"displaystyle", "scriptlevel"},
}


def sanitised(html: str) -> str:
    """The HTML without whatever is not known to be harmless: no script, style, form, address, event or image."""
    return nh3.clean(
        html,
        tags=set(_TEXT.split()) | set(_MATH.split()),
        attributes=_ATTRIBUTES,
        attribute_filter=_kept,
        clean_content_tags={"script", "style"},
        link_rel=None,
        url_schemes=set(),
    )


def _kept(tag: str, name: str, value: str) -> str | None:
    if name == "align":
        return value if value in ("left", "center", "right") else None
    if name == "dir":
        return value if value in ("auto", "ltr", "rtl") else None
    if name == "class":
        if tag == "div":
            return value if value in _OWN_CLASSES else None
        # Pygments' classes are of one to three characters.
        return value if value in _OWN_CLASSES or (len(value) <= 3 and value.isalnum()) else None
    return value
