//! The functions that expressions may call: the table of `docker buildx bake`, which is that of HCL's ecosystem.

mod arguments;
mod collections;
mod dates;
mod encodings;
mod formatting;
mod networks;
mod numbers;
mod sets;
mod texts;
mod versions;

use crate::inputs::Inputs;
use crate::value::Value;

use arguments::Arguments;

/// What a call gives; the error says what is wrong, without the function's name.
type Outcome = Result<Value, String>;

/// A function, with the least and the greatest number of its arguments.
struct Entry {
    name: &'static str,
    least: usize,
    most: usize,
    call: fn(&Arguments<'_>) -> Outcome,
}

/// `name least..most => function` lines.
macro_rules! table {
    ($($name:literal $least:literal .. $most:expr => $call:path;)+) => {
        &[$(Entry { name: $name, least: $least, most: $most, call: $call }),+]
    };
}

/// No limit but that of the expression.
const ANY: usize = usize::MAX;

/// All functions by name. `can`, `convert` and `try` are not among them: their arguments are not only values.
static TABLE: &[Entry] = table! {
    "absolute" 1..1 => numbers::absolute;
    "add" 2..2 => numbers::add;
    "and" 2..2 => numbers::and;
    "base64decode" 1..1 => encodings::base64_decode;
    "base64encode" 1..1 => encodings::base64_encode;
    "basename" 1..1 => texts::base_name;
    "bcrypt" 1..2 => encodings::not_offered;
    "byteslen" 1..1 => texts::bytes_length;
    "bytesslice" 3..3 => texts::bytes_slice;
    "ceil" 1..1 => numbers::ceil;
    "chomp" 1..1 => texts::chomp;
    "chunklist" 2..2 => collections::chunk_list;
    "cidrcontains" 2..2 => networks::contains;
    "cidrhost" 2..2 => networks::host;
    "cidrnetmask" 1..1 => networks::netmask;
    "cidrsubnet" 3..3 => networks::subnet;
    "cidrsubnets" 1..ANY => networks::subnets;
    "coalesce" 1..ANY => collections::coalesce;
    "coalescelist" 1..ANY => collections::coalesce_list;
    "compact" 1..1 => collections::compact;
    "concat" 1..ANY => collections::concat;
    "contains" 2..2 => collections::contains;
    "csvdecode" 1..1 => encodings::csv_decode;
    "dirname" 1..1 => texts::directory_name;
    "distinct" 1..1 => collections::distinct;
    "divide" 2..2 => numbers::divide;
    "element" 2..2 => collections::element;
    "equal" 2..2 => numbers::equal;
    "flatten" 1..1 => collections::flatten;
    "floor" 1..1 => numbers::floor;
    "format" 1..ANY => formatting::format;
    "formatdate" 2..2 => dates::format_date;
    "formatlist" 1..ANY => formatting::format_list;
    "formattimestamp" 2..2 => dates::format_timestamp;
    "greaterthan" 2..2 => numbers::greater_than;
    "greaterthanorequalto" 2..2 => numbers::greater_than_or_equal_to;
    "hasindex" 2..2 => collections::has_index;
    "homedir" 0..0 => texts::home_directory;
    "indent" 2..2 => texts::indent;
    "index" 2..2 => collections::index;
    "indexof" 2..2 => collections::index_of;
    "int" 1..1 => numbers::int;
    "join" 2..ANY => texts::join;
    "jsondecode" 1..1 => encodings::json_decode;
    "jsonencode" 1..1 => encodings::json_encode;
    "keys" 1..1 => collections::keys;
    "length" 1..1 => collections::length;
    "lessthan" 2..2 => numbers::less_than;
    "lessthanorequalto" 2..2 => numbers::less_than_or_equal_to;
    "log" 2..2 => numbers::log;
    "lookup" 2..3 => collections::lookup;
    "lower" 1..1 => texts::lower;
    "max" 1..ANY => numbers::max;
    "md5" 1..1 => encodings::md5;
    "merge" 0..ANY => collections::merge;
    "min" 1..ANY => numbers::min;
    "modulo" 2..2 => numbers::modulo;
    "multiply" 2..2 => numbers::multiply;
    "negate" 1..1 => numbers::negate;
    "not" 1..1 => numbers::not;
    "notequal" 2..2 => numbers::not_equal;
    "or" 2..2 => numbers::or;
    "parseint" 2..2 => numbers::parse_int;
    "pow" 2..2 => numbers::pow;
    "range" 1..3 => collections::range;
    "regex" 2..2 => texts::regex;
    "regex_replace" 3..3 => texts::regex_replace;
    "regexall" 2..2 => texts::regex_all;
    "replace" 3..3 => texts::replace;
    "reverse" 1..1 => texts::reverse;
    "reverselist" 1..1 => collections::reverse_list;
    "rsadecrypt" 2..2 => encodings::not_offered;
    "sanitize" 1..1 => texts::sanitize;
    "semvercmp" 2..2 => versions::compare;
    "sethaselement" 2..2 => sets::has_element;
    "setintersection" 1..ANY => sets::intersection;
    "setproduct" 1..ANY => sets::product;
    "setsubtract" 2..2 => sets::subtract;
    "setsymmetricdifference" 1..ANY => sets::symmetric_difference;
    "setunion" 1..ANY => sets::union;
    "sha1" 1..1 => encodings::sha1;
    "sha256" 1..1 => encodings::sha256;
    "sha512" 1..1 => encodings::sha512;
    "signum" 1..1 => numbers::signum;
    "slice" 2..3 => collections::slice;
    "sort" 1..1 => collections::sort;
    "split" 2..2 => texts::split;
    "strlen" 1..1 => texts::length;
    "substr" 3..3 => texts::substring;
    "subtract" 2..2 => numbers::subtract;
    "timeadd" 2..2 => dates::time_add;
    "timestamp" 0..0 => dates::timestamp;
    "title" 1..1 => texts::title;
    "trim" 2..2 => texts::trim;
    "trimprefix" 2..2 => texts::trim_prefix;
    "trimspace" 1..1 => texts::trim_space;
    "trimsuffix" 2..2 => texts::trim_suffix;
    "unixtimestampparse" 1..1 => dates::unix_timestamp_parse;
    "upper" 1..1 => texts::upper;
    "urlencode" 1..1 => encodings::url_encode;
    "uuidv4" 0..0 => encodings::uuid_v4;
    "uuidv5" 2..2 => encodings::uuid_v5;
    "values" 1..1 => collections::values;
    "zipmap" 2..2 => collections::zip_map;
};

/// The names of all functions.
pub(crate) fn names<'a>() -> impl Iterator<Item = &'a str> {
    TABLE.iter().map(|entry| entry.name).chain(["can", "convert", "try"])
}

/// Calls the function of this name; `None` if the table has none.
pub(crate) fn call(name: &str, values: &[Value], inputs: &Inputs) -> Option<Outcome> {
    let entry = &TABLE[TABLE.binary_search_by_key(&name, |entry| entry.name).ok()?];
    let count = values.len();
    if count < entry.least || count > entry.most {
        let wanted = match (entry.least, entry.most) {
            (least, ANY) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        return Some(Err(format!("it takes {wanted} arguments, not {count}")));
    }
    Some((entry.call)(&Arguments { values, inputs }))
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|entry| entry.name));
    }
}
