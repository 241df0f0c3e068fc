"""Answers with one of a few cows, which says what the request says."""

import random
import textwrap

LONGEST = 4000
MOO = ("Moo.", "Moo?", "MOO!", "Mu.")

COWS = (
    r"""
      \
       \   n__n
        \  (oo)_______________
           (__)               )\~
              ||----------||
              ^^          ^^
""",
    r"""
      \
       \    ,   ,
        \  {-.-}
           ( u )==============.
            ~~~ |   #    ##   |\
                |__  __  __  _| *
                 ||  ""  ""  ||
""",
    r"""
       \
        \  w---w
         \ |@ @|  .-------------.
            \_/--( o   O    o    )--,
             "    '|-|-------|-|'   j
                   " "       " "
""",
    r"""
     \
      \  v_v
       \ (..)___
         (__)   )~
           "---"
""",
)


def handle(event, context):  # noqa: ARG001 - the platform passes both
    words = " ".join(event.body[:LONGEST].decode("utf-8", "replace").split()) or random.choice(MOO)
    lines = textwrap.wrap(words, 50) or [""]
    width = max(map(len, lines))
    bubble = [" " + "_" * (width + 2), *(f"( {line:<{width}} )" for line in lines), " " + "-" * (width + 2)]
    text = "\n".join(bubble) + random.choice(COWS)
    return {"body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}
