//! Enums whose variants have a label: the text in configurations, rows and messages.

/// Defines an enum from its variants and their labels, with `ALL`, `label()`, `Display` and serde
/// implementations that use the labels.
macro_rules! labeled_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[allow(missing_docs)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $label)] $variant),+ }
        impl $name {
            /// All variants, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The variant's label in configurations, rows and messages.
            pub fn label(self) -> &'static str {
                match self { $($name::$variant => $label),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

pub(crate) use labeled_enum;
