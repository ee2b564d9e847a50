//! The demo's merchant and terminals, on both sides: in the store and in the terminals' own directories.

use std::path::PathBuf;

use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::{Amount, MerchantId, TerminalId};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage};
use pos::{KeyLayout, TerminalConfig, TmkComponent};

use crate::config::Config;
use crate::params;

/// The demo's merchant number.
pub const MERCHANT: &str = "898100000000001";
/// Its name.
pub const MERCHANT_NAME: &str = "示范商户一号店";
/// Milliseconds a demo terminal waits for an answer: longer than posp waits for the network.
pub const ANSWER_TIMEOUT_MS: u64 = 10_000;

/// A terminal of the demo.
pub struct Prop {
    /// Terminal number.
    pub id: &'static str,
    /// Which keys it signs in for.
    pub layout: KeyLayout,
    cipher: TerminalCipher,
    components: Vec<KeyComponent>,
    dir: PathBuf,
}

/// Merchant and terminals.
pub struct Scene {
    props: Vec<Prop>,
    /// Smart terminals, with the components of their master keys.
    smart: Vec<(&'static str, Vec<String>)>,
}

/// The smart terminals of the page.
const SMART_TERMINALS: [&str; 3] = ["20000001", "20000002", MPOS_TERMINAL];
/// The one of them that is a phone with a reader.
pub const MPOS_TERMINAL: &str = "20000003";

const TERMINALS: [(&str, KeyLayout, TerminalCipher); 3] = [
    ("10000001", KeyLayout::TripleDesTrack, TerminalCipher::TripleDes),
    ("10000002", KeyLayout::Sm4, TerminalCipher::Sm4),
    ("10000003", KeyLayout::TripleDes, TerminalCipher::TripleDes),
];

impl Scene {
    /// Enters the merchant and its terminals into the empty store, each with a master key of its own.
    pub async fn furnish(config: &Config, vault: &dyn Hsm) -> anyhow::Result<Scene> {
        let store = config.open_store()?;
        let merchant = MerchantId::new(MERCHANT)?;
        store
            .put_merchant(&Merchant {
                id: merchant,
                name: MERCHANT_NAME.to_owned(),
                mcc: 5411,
                active: true,
                limit_single: Amount::from_fen(5_000_000),
                profile: None,
            })
            .await?;
        let (mut props, mut smart) = (Vec::new(), Vec::new());
        for (id, layout, cipher) in TERMINALS {
            let components = vec![KeyComponent::random(16)?, KeyComponent::random(16)?];
            let algorithm = match cipher {
                TerminalCipher::TripleDes => KeyAlgorithm::TripleDes2,
                TerminalCipher::Sm4 => KeyAlgorithm::Sm4,
            };
            let key = vault.import_components(KeyUsage::TerminalMaster, algorithm, &components)?;
            store
                .put_terminal(&Terminal {
                    merchant,
                    id: TerminalId::new(id)?,
                    active: true,
                    cipher,
                    master_key: key.to_string(),
                    session: TerminalSession::NEW,
                })
                .await?;
            let dir = config.node.data.join("pos").join(id);
            props.push(Prop { id, layout, cipher, components, dir });
        }
        for id in SMART_TERMINALS {
            let components = [KeyComponent::random(16)?, KeyComponent::random(16)?];
            let key =
                vault.import_components(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2, &components)?;
            store
                .put_terminal(&Terminal {
                    merchant,
                    id: TerminalId::new(id)?,
                    active: true,
                    cipher: TerminalCipher::TripleDes,
                    master_key: key.to_string(),
                    session: TerminalSession::NEW,
                })
                .await?;
            let components = components.iter().map(|component| component.reveal_hex().to_string()).collect();
            smart.push((id, components));
        }
        store.put_list_items(params::laboratory()?).await?;
        store.close().await;
        Ok(Scene { props, smart })
    }

    /// Number and cipher of each terminal, for scripts.
    pub fn terminals(&self) -> Vec<(&'static str, TerminalCipher)> {
        self.props.iter().map(|prop| (prop.id, prop.cipher)).collect()
    }

    /// The smart terminals of the page, with the components of their master keys.
    pub fn smart(&self) -> &[(&'static str, Vec<String>)] {
        &self.smart
    }

    /// The terminals.
    pub fn props(&self) -> &[Prop] {
        &self.props
    }
}

impl Prop {
    /// Takes the terminal out of its box: enrols it and loads its master key. The chips of the deck keep one
    /// counter for all terminals, as real cards do.
    pub async fn unpack(&self, host: &str) -> anyhow::Result<pos::Terminal> {
        let mut config = TerminalConfig::new(host, MERCHANT, self.id);
        config.merchant_name = MERCHANT_NAME.to_owned();
        config.answer_timeout_ms = ANSWER_TIMEOUT_MS;
        config.capability = 6;
        config.card_file = Some(PathBuf::from("../cards.json"));
        let mut terminal = pos::Terminal::enrol(&self.dir, config)?;
        let components: Vec<TmkComponent> = self
            .components
            .iter()
            .map(|component| TmkComponent::new(component.reveal_hex().to_string(), None))
            .collect();
        terminal.load_tmk(&components, None).await?;
        Ok(terminal)
    }
}

/// What the network's own books say it moved: purchases less voids and refunds, in fen.
pub fn network_net(network: &sim::SimHandle) -> i64 {
    network.totals().values().map(|day| day.net).sum()
}
