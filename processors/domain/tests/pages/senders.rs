//! Which commands sagas and effects send: an upstream system has no need to.

use std::fs;
use std::path::Path;

const SENDERS: [(&str, &str, &[&str]); 7] = [
    ("saga `checkout`", "sagas/checkout.rs", &["PlaceOrder", "ReopenCart"]),
    (
        "saga `fulfilment`",
        "sagas/fulfilment",
        &[
            "CancelOrder",
            "ConfirmOrder",
            "QueueNotification",
            "RefundPayment",
            "ReleaseStock",
            "RequestCapture",
            "RequestPayment",
            "ReserveStock",
            "ReturnStock",
            "ShipStock",
            "VoidPayment",
        ],
    ),
    (
        "saga `renewal`",
        "sagas/renewal",
        &[
            "LapseSubscription",
            "RefundPayment",
            "RenewSubscription",
            "RequestSubscriptionPayment",
            "VoidPayment",
        ],
    ),
    ("effect `audience`", "effects/audience.rs", &["AddAudienceChunk", "FailCampaign"]),
    ("effect `delivery`", "effects/delivery.rs", &["RecordReceipts"]),
    ("effect `mail`", "effects/mail.rs", &["MarkNotificationFailed", "MarkNotificationSent"]),
    (
        "effect `payment`",
        "effects/payment.rs",
        &["AuthorisePayment", "CapturePayment", "CompleteRefund", "DeclinePayment", "FailRefund"],
    ),
];

/// Who sends a command of this name, as a sentence of its page.
pub(super) fn sentence(command: &str) -> String {
    let senders = SENDERS.iter().filter(|(_, _, commands)| commands.contains(&command));
    let senders: Vec<&str> = senders.map(|(sender, ..)| *sender).collect();
    match senders.as_slice() {
        [] => String::new(),
        [sender] => format!(" Millrace's {sender} sends it."),
        more => format!(" Millrace's {} send it.", more.join(" and ")),
    }
}

#[test]
fn each_sender_names_its_commands_in_its_code() {
    for (sender, place, commands) in SENDERS {
        let code = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(place));
        for command in commands {
            assert!(code.contains(&format!("{command} {{")), "{sender} does not make {command}");
        }
    }
}

/// Of a file, or of all files of a folder.
fn code(place: &Path) -> String {
    let Ok(files) = fs::read_dir(place) else { return fs::read_to_string(place).expect("a file") };
    let files = files.map(|file| file.expect("a file").path()).filter(|file| file.is_file());
    files.map(|file| fs::read_to_string(file).expect("a file")).collect()
}
