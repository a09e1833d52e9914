//! The classes that RE2J knows by name, as far as they have ASCII letters.

/// ASCII letters, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Letters(u128);

impl Letters {
    /// The ASCII letters from one letter to another; with case folded, those in the other case too.
    pub(super) fn range(low: char, high: char, folds_case: bool) -> Self {
        let mut letters = Self::default();
        for letter in u32::from(low)..=u32::from(high).min(0x7f) {
            letters.0 |= 1 << letter;
        }
        if folds_case {
            // Two letters beyond ASCII fold to letters within.
            for (outside, inside) in [('\u{17f}', 's'), ('\u{212a}', 'k')] {
                if (low..=high).contains(&outside) {
                    letters.0 |= 1 << u32::from(inside);
                }
            }
        }
        letters.folded(folds_case)
    }

    fn of(ranges: &[(u8, u8)]) -> Self {
        let mut letters = Self::default();
        for (low, high) in ranges {
            for letter in *low..=*high {
                letters.0 |= 1 << letter;
            }
        }
        letters
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn complement(self) -> Self {
        Self(!self.0)
    }

    /// With every letter in the other case, if case is folded.
    pub(super) fn folded(self, folds_case: bool) -> Self {
        if !folds_case {
            return self;
        }
        let upper = Self::of(&[(b'A', b'Z')]).0;
        let lower = upper << 32;
        Self(self.0 | ((self.0 & upper) << 32) | ((self.0 & lower) >> 32))
    }

    /// The class in the words of the `regex` crate.
    pub(super) fn to_class(self) -> String {
        use std::fmt::Write;

        if self.0 == 0 {
            return r"[^\x00-\xff]".to_owned();
        }
        let mut class = String::from("[");
        let mut letter = 0_u32;
        while letter < 128 {
            if self.0 >> letter & 1 == 0 {
                letter += 1;
                continue;
            }
            let run = (self.0 >> letter).trailing_ones();
            // Writing into a string does not fail.
            let _ = write!(class, r"\x{letter:02x}-\x{:02x}", letter + run - 1);
            letter += run;
        }
        class.push(']');
        class
    }
}

/// The class behind a backslash and this letter.
pub(super) fn perl_group(letter: char) -> Option<Letters> {
    let name = match letter.to_ascii_lowercase() {
        'd' => "digit",
        's' => {
            return Some(negated_if(
                letter == 'S',
                Letters::of(&[(9, 10), (12, 13), (32, 32)]),
            ));
        }
        'w' => "word",
        _ => return None,
    };
    named_group(name).map(|letters| negated_if(letter.is_ascii_uppercase(), letters))
}

fn negated_if(is_negated: bool, letters: Letters) -> Letters {
    if is_negated {
        letters.complement()
    } else {
        letters
    }
}

/// The class of that name between colons.
pub(super) fn named_group(name: &str) -> Option<Letters> {
    Some(Letters::of(match name {
        "alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        "alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        "ascii" => &[(0, 0x7f)],
        "blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        "cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        "digit" => &[(b'0', b'9')],
        "graph" => &[(b'!', b'~')],
        "lower" => &[(b'a', b'z')],
        "print" => &[(b' ', b'~')],
        "punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        "space" => &[(9, 13), (b' ', b' ')],
        "upper" => &[(b'A', b'Z')],
        "word" => &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')],
        "xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    }))
}

/// The categories and scripts of Unicode 6.0 that have no ASCII letters.
const WITHOUT_ASCII: &str = " Cf Co Cs Lm Lo Lt M Mc Me Mn Nl No Pf Pi So Zl Zp \
    Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Brahmi Braille Buginese Buhid \
    Canadian_Aboriginal Carian Cham Cherokee Coptic Cuneiform Cypriot Cyrillic Deseret Devanagari \
    Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han Hangul \
    Hanunoo Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi \
    Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kayah_Li Kharoshthi Khmer Lao Lepcha \
    Limbu Linear_B Lisu Lycian Lydian Malayalam Mandaic Meetei_Mayek Mongolian Myanmar New_Tai_Lue \
    Nko Ogham Ol_Chiki Old_Italic Old_Persian Old_South_Arabian Old_Turkic Oriya Osmanya Phags_Pa \
    Phoenician Rejang Runic Samaritan Saurashtra Shavian Sinhala Sundanese Syloti_Nagri Syriac \
    Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Tamil Telugu Thaana Thai Tibetan Tifinagh Ugaritic \
    Unknown Vai Yi ";

/// The category or script of that name.
pub(super) fn unicode_group(name: &str) -> Option<Letters> {
    let latin = &[(b'A', b'Z'), (b'a', b'z')];
    Some(Letters::of(match name {
        "Any" => &[(0, 0x7f)],
        "C" | "Cc" => &[(0, 0x1f), (0x7f, 0x7f)],
        "L" | "Latin" => latin,
        "Ll" => &[(b'a', b'z')],
        "Lu" => &[(b'A', b'Z')],
        "N" | "Nd" => &[(b'0', b'9')],
        "Pc" => &[(b'_', b'_')],
        "Pd" => &[(b'-', b'-')],
        "Pe" => &[(b')', b')'), (b']', b']'), (b'}', b'}')],
        "Ps" => &[(b'(', b'('), (b'[', b'['), (b'{', b'{')],
        "Po" => &[
            (b'!', b'#'),
            (b'%', b'\''),
            (b'*', b'*'),
            (b',', b','),
            (b'.', b'/'),
            (b':', b';'),
            (b'?', b'@'),
            (b'\\', b'\\'),
        ],
        "P" => {
            let parts = ["Pc", "Pd", "Pe", "Ps", "Po"].into_iter();
            return Some(union_of(parts));
        }
        "Sc" => &[(b'$', b'$')],
        "Sk" => &[(b'^', b'^'), (b'`', b'`')],
        "Sm" => &[(b'+', b'+'), (b'<', b'>'), (b'|', b'|'), (b'~', b'~')],
        "S" => return Some(union_of(["Sc", "Sk", "Sm"].into_iter())),
        "Z" | "Zs" => &[(b' ', b' ')],
        "Common" => return Some(Letters::of(latin).complement()),
        _ if is_without_ascii(name) => &[],
        _ => return None,
    }))
}

fn union_of(names: impl Iterator<Item = &'static str>) -> Letters {
    names
        .filter_map(unicode_group)
        .fold(Letters::default(), Letters::union)
}

fn is_without_ascii(name: &str) -> bool {
    WITHOUT_ASCII
        .split_ascii_whitespace()
        .any(|known| known == name)
}
