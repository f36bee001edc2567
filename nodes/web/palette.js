// Written from infusenet/charts/palette.py; change it there. python -c "from infusenet.charts.palette import *; print(to_javascript(), end='')"
export const THEMES = {
    "light": {
        "paper": "#ffffff",
        "page": "#faf9f6",
        "card": "#ffffff",
        "ink": "#1f2328",
        "quiet": "#5c6370",
        "grid": "#e2dfd8",
        "curve-1": "#0072b2",
        "curve-2": "#bd4f00",
        "curve-3": "#00825e",
        "curve-4": "#a3357a",
        "curve-5": "#7a5c00"
    },
    "dark": {
        "paper": "#16181d",
        "page": "#16181d",
        "card": "#1e2126",
        "ink": "#e8eaed",
        "quiet": "#a0a6b0",
        "grid": "#31353d",
        "curve-1": "#56b4e9",
        "curve-2": "#f0a03c",
        "curve-3": "#2cc295",
        "curve-4": "#e78ac3",
        "curve-5": "#f0e442"
    }
};
export const DASHES = {
    "impostor": "5 3",
    "blank": "1 1.8",
    "published": "7 2 1 2",
    "genuine": "10 3"
}; // by kind of line
