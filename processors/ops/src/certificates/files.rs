//! Certificates in files.

use std::path::Path;

use chrono::{DateTime, Utc};
use millrace_engine::access::Access;
use openssl::x509::X509;

use super::{Certificate, databases, latest_end, own_end};
use crate::address::Address;
use crate::config::Config;

/// Properties of librdkafka whose value is a file with certificates: authorities, and our own.
const OF_KAFKA: [(&str, Of); 2] = [("ssl.ca.location", latest_end), ("ssl.certificate.location", own_end)];
/// Parameters of a database's URL whose value is one.
const OF_POSTGRES: [(&str, Of); 2] = [("sslrootcert", latest_end), ("sslcert", own_end)];

/// Which of a file's certificates counts.
type Of = fn(&[X509]) -> Result<Option<DateTime<Utc>>, String>;

/// The certificates of all configured files on this host; that of `connect.database_ca_file` is on the hosts of Connect.
pub(super) fn all(config: &Config) -> Vec<Certificate> {
    let mut all = Vec::new();
    let services = [
        ("elasticsearch", config.elasticsearch.files()),
        ("registry", config.registry.access.files()),
        ("connect", config.connect.access.files()),
    ];
    all.extend(services.iter().flat_map(|(component, access)| of_access(component, access)));
    all.extend(databases(config).iter().flat_map(|(setting, url)| of_url(setting, url)));
    let properties = config.kafka.revealed();
    let named = OF_KAFKA.iter().filter_map(|(name, of)| Some((name, properties.get(*name)?, *of)));
    // librdkafka also takes a folder, or `probe` for those of the system.
    let named = named.filter(|(_, file, _)| *file != "probe" && !Path::new(file).is_dir());
    all.extend(
        named.map(|(name, file, of)| of_file(format!("kafka.properties {name}"), Path::new(file), of)),
    );
    all
}

fn of_access(component: &str, access: &Access) -> Vec<Certificate> {
    let own =
        access.identity.as_ref().map(|(certificate, _)| ("certificate_file", certificate, own_end as Of));
    let files = access.ca.as_ref().map(|file| ("ca_file", file, latest_end as Of)).into_iter().chain(own);
    files.map(|(name, file, of)| of_file(format!("{component}.access.{name}"), file, of)).collect()
}

fn of_url(setting: &str, url: &Address) -> Vec<Certificate> {
    let of = |asked: &str| OF_POSTGRES.iter().find(|(name, _)| *name == asked).map(|(_, of)| *of);
    let files = url.url().query_pairs().filter_map(|(name, file)| Some((of(&name)?, name, file)));
    files.map(|(of, name, file)| of_file(format!("{setting} {name}"), Path::new(&*file), of)).collect()
}

fn of_file(setting: String, file: &Path, of: Of) -> Certificate {
    let read = std::fs::read(file).map_err(|error| error.to_string());
    let ends = read
        .and_then(|text| X509::stack_from_pem(&text).map_err(|error| error.to_string()))
        .and_then(|chain| of(&chain))
        .and_then(|end| end.ok_or_else(|| "it has no certificate in PEM".to_owned()));
    Certificate { setting, ends: ends.map_err(|why| format!("{}: {why}", file.display())) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::certificate;
    use super::*;

    #[test]
    fn each_file_has_an_end_or_a_reason() {
        let folder = std::env::temp_dir().join(format!("millrace-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [good, bad] = ["good.pem", "bad.pem"].map(|name| folder.join(name).display().to_string());
        std::fs::write(&good, certificate(9).0.to_pem().unwrap()).unwrap();
        std::fs::write(&bad, "nothing").unwrap();
        let config = Config::with(&[
            format!("registry.access.ca_file={good}"),
            format!("connect.access.ca_file={bad}"),
            format!(
                "postgres.read.url=postgres://a@db/x?sslmode=verify-full&sslrootcert={folder:?}/none.pem"
            )
            .replace('"', ""),
        ]);
        let found = all(&config.unwrap());
        let settings: Vec<&str> = found.iter().map(|one| one.setting.as_str()).collect();
        assert_eq!(
            settings,
            ["registry.access.ca_file", "connect.access.ca_file", "postgres.read.url sslrootcert"]
        );
        assert_eq!(found.iter().map(|one| one.ends.is_ok()).collect::<Vec<_>>(), [true, false, false]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
