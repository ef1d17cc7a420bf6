//! Contrast of the colors of the style sheets (WCAG 2.2: 4.5 for text, 3 for marks).

use std::collections::BTreeMap;

const THEMES: [(&str, &str); 2] = [
    ("light", include_str!("../src/assets/light.css")),
    ("dark", include_str!("../src/assets/dark.css")),
];

/// The variables of a style sheet with their relative luminances.
fn luminances(css: &str) -> BTreeMap<&str, f64> {
    let declarations = css.split([';', '\n']).filter(|text| !text.trim().is_empty());
    declarations
        .map(|text| {
            let (name, color) = text.trim().split_once(":#").expect("a color");
            let channel = |at: usize| {
                let value = u8::from_str_radix(&color[at..at + 2], 16).expect("two digits");
                let share = f64::from(value) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            (name, 0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4))
        })
        .collect()
}

fn contrast(a: f64, b: f64) -> f64 {
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn both_themes_have_the_same_variables() {
    let names = THEMES.map(|(_, css)| luminances(css).into_keys().collect::<Vec<_>>());
    assert_eq!(names[0], names[1]);
}

#[test]
fn series_stand_out_from_the_background() {
    for (theme, css) in THEMES {
        let colors = luminances(css);
        for at in 0..8 {
            let contrast = contrast(colors[&*format!("--s{at}")], colors["--bg"]);
            assert!(contrast >= 3.0, "{theme} --s{at}: {contrast:.2}");
        }
        assert!(contrast(colors["--axis"], colors["--bg"]) >= 3.0, "{theme} --axis");
    }
}

#[test]
fn text_is_legible() {
    for (theme, css) in THEMES {
        let colors = luminances(css);
        for text in ["--text", "--muted", "--link", "--error", "--warning"] {
            for background in ["--bg", "--panel"] {
                let contrast = contrast(colors[text], colors[background]);
                assert!(contrast >= 4.5, "{theme} {text} on {background}: {contrast:.2}");
            }
        }
        for at in 0..9 {
            let contrast = contrast(colors[&*format!("--g{at}")], colors[&*format!("--h{at}")]);
            assert!(contrast >= 4.5, "{theme} shade {at}: {contrast:.2}");
        }
    }
}

#[test]
fn shades_go_from_the_background_to_the_strongest() {
    for (theme, css) in THEMES {
        let colors = luminances(css);
        let steps: Vec<f64> =
            (0..9).map(|at| contrast(colors[&*format!("--h{at}")], colors["--bg"])).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{theme}: {steps:?}");
    }
}
