//! The closed list of bounds that a request can go over, each with the name under which it is
//! configured. Bounds that only cut (output in one piece, replay) are settings and not here.
//!
//! Whoever refuses something for its size, number or time says so with
//! [`Failure::over_limit`](crate::Failure::over_limit), so that every such error names its limit in
//! the same way.

use crate::reason::Reason;

/// Who decides about a limit's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// The operator, by the configuration key of the limit's name.
    Operator,
    /// Nobody: the kernel or the protocol has it so.
    Nature,
}

macro_rules! limits {
    ($(
        $(#[$doc:meta])*
        $name:ident = $word:literal, $by:ident, $reason:ident, $way:literal;
    )*) => {
        /// A bound that a request can go over.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[$doc])* $name,)*
        }

        impl Limit {
            /// Every limit there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name: the configuration key where there is one.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Who decides about its value.
            pub const fn set_by(self) -> SetBy {
                match self { $(Self::$name => SetBy::$by,)* }
            }

            /// The reason of a failure that it causes.
            pub const fn reason(self) -> Reason {
                match self { $(Self::$name => Reason::$reason,)* }
            }

            /// What the caller can do without the operator.
            pub const fn way_around(self) -> &'static str {
                match self { $(Self::$name => $way,)* }
            }
        }
    };
}

limits! {
    /// How long a sandbox may live, from now.
    MaxTtl = "defaults.max_ttl", Operator, TtlTooLong, "ask for less, and extend it later";
    /// How long a program may run.
    MaxExecTimeout = "defaults.max_exec_timeout", Operator, TimeoutTooLong,
        "ask for less, or run the program in the background of the sandbox";
    /// Sandboxes at once.
    MaxSandboxes = "defaults.max_sandboxes", Operator, TooManySandboxes,
        "delete a sandbox or wait until one expires";
    /// Sandboxes of one owner at once.
    MaxSandboxesPerOwner = "defaults.max_sandboxes_per_owner", Operator, TooManySandboxes,
        "delete a sandbox or wait until one expires";
    /// Memory of one sandbox, in MiB.
    MemoryMib = "limits.memory_mb", Operator, InvalidField, "ask for less";
    /// Processor cores of one sandbox.
    Vcpus = "limits.vcpus", Operator, InvalidField, "ask for fewer";
    /// Labels of one sandbox.
    MetadataEntries = "limits.metadata_entries", Operator, InvalidField, "send fewer entries";
    /// Bytes in the name of a label.
    MetadataKeyBytes = "limits.metadata_key_bytes", Operator, InvalidField, "shorten the key";
    /// Bytes in the value of a label.
    MetadataValueBytes = "limits.metadata_value_bytes", Operator, InvalidField,
        "shorten the value, or keep it in a file of the sandbox";
    /// Programs at once in one sandbox.
    Execs = "limits.execs", Operator, TooManyExecs,
        "wait for one to end, or use another sandbox";
    /// Entries of one listing, and matches of one pattern.
    ListingEntries = "limits.listing_entries", Operator, TooLarge,
        "list a smaller directory or use a closer pattern";
    /// Lines that one search in files may ask for.
    GrepMatches = "limits.grep_matches", Operator, InvalidField,
        "ask for fewer, or search in a smaller directory";
    /// Members of an archive that is unpacked.
    ArchiveEntries = "limits.archive_entries", Operator, TooLarge,
        "send the files in several archives";
    /// Bytes in all files together of an archive that is unpacked.
    ArchiveBytes = "limits.archive_bytes", Operator, TooLarge,
        "send the files in several archives";
    /// How many times its compressed size an archive may unpack to.
    ArchiveRatio = "limits.archive_ratio", Operator, TooLarge, "send the archive uncompressed";
    /// Bytes in a JSON body.
    JsonBodyBytes = "limits.json_body_bytes", Operator, BodyTooLarge,
        "send a large file as application/octet-stream";
    /// Bytes in one message of a WebSocket.
    SocketMessageBytes = "socket_message_bytes", Nature, TooLarge,
        "send the bytes in several messages";
    /// For a provider to make a runtime.
    CreateTimeout = "limits.create_timeout", Operator, ProviderUnavailable, "try again later";
    /// For a provider to remove a runtime.
    DestroyTimeout = "limits.destroy_timeout", Operator, ProviderUnavailable, "try again later";
    /// For a provider to say what there is.
    QueryTimeout = "provider_query_timeout", Nature, ProviderUnavailable, "try again later";
    /// Bytes of one argument, shell line or environment entry.
    ArgBytes = "arg_bytes", Nature, InvalidField,
        "write it to a file in the sandbox and run that";
    /// Bytes of all arguments and the environment.
    ArgsBytes = "args_bytes", Nature, InvalidField,
        "write them to a file in the sandbox and read that";
    /// Arguments, and environment entries.
    Args = "args", Nature, InvalidField, "write them to a file in the sandbox and read that";
    /// Columns, and rows, of a terminal.
    TtyCells = "tty_cells", Nature, InvalidField, "ask for a smaller terminal";
}

impl Limit {
    /// The way out, for people: around the limit, and where it is raised.
    pub fn hint(self) -> String {
        let way = self.way_around();
        match self.set_by() {
            SetBy::Operator => {
                format!("{way}; the operator can raise `{}` in the configuration", self.name())
            }
            SetBy::Nature => way.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_limit_has_its_own_name_and_says_where_it_is_raised() {
        let names: HashSet<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        for limit in Limit::ALL {
            let is_key = limit.name().contains('.');
            assert_eq!(limit.set_by() == SetBy::Operator, is_key, "{limit:?}");
            assert_eq!(limit.hint().contains(limit.name()), is_key, "{limit:?}");
        }
    }
}
