//! Athena statements, generated from the definitions of the tables.

use crate::tables::{Format, READING_DATE, READING_DATE_COMMENT, READING_DATE_TYPE, Table};

/// What stands for the bucket in a statement.
pub const BUCKET: &str = "${bucket}";

/// The statement that creates a table. `${bucket}` stands for the name of the lake's bucket.
pub fn create_table(table: &Table) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            format!("  `{}` {} COMMENT {}", column.name, column.kind.name(), quoted(column.comment))
        })
        .collect();
    let mut statement = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS `{}` (\n{}\n)\nCOMMENT {}\n",
        table.name,
        columns.join(",\n"),
        quoted(table.comment)
    );
    if table.partitioned {
        let comment = quoted(READING_DATE_COMMENT);
        statement +=
            &format!("PARTITIONED BY (`{READING_DATE}` {READING_DATE_TYPE} COMMENT {comment})\n");
    }
    statement += match table.format {
        Format::Json => {
            "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'\n\
             WITH SERDEPROPERTIES ('case.insensitive' = 'true', 'ignore.malformed.json' = 'true')\n\
             STORED AS TEXTFILE\n"
        }
        Format::Parquet => "STORED AS PARQUET\n",
    };
    statement += &format!("LOCATION 's3://{BUCKET}/{}';\n", table.location);
    statement
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{CUSTOMER_LANDING, MACHINE_LEARNING_CURATED, TABLES};

    #[test]
    fn the_committed_statements_are_in_step_with_the_tables() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/sql/landing");
        for table in TABLES.iter().filter(|table| table.format == Format::Json) {
            let path = folder.join(format!("{}.sql", table.name));
            let wanted = create_table(table);
            if std::env::var_os("STEDI_WRITE_SQL").is_some() {
                std::fs::write(&path, &wanted).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                found,
                wanted,
                "{} is out of step: run the tests with STEDI_WRITE_SQL=1",
                path.display()
            );
        }
    }

    #[test]
    fn partitioned_tables_say_so() {
        assert!(
            create_table(&MACHINE_LEARNING_CURATED).contains("PARTITIONED BY (`reading_date` date")
        );
        assert!(!create_table(&CUSTOMER_LANDING).contains("PARTITIONED"));
    }
}
