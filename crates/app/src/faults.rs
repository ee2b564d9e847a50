//! What a cashier reads when a device has failed: by the kind of the error, in both languages. The driver's own words
//! are for the log.

use hal::{ErrorKind, HalError};

use crate::flow::{Trouble, TroubleKind};

/// A device's error as trouble; the driver's words go to the log.
pub(crate) fn device(error: &HalError) -> Trouble {
    tracing::warn!(%error, "a device failed");
    Trouble { kind: TroubleKind::Device, text: words(error.kind).to_owned() }
}

/// Chinese, a slash, English.
const fn words(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotSupported => "本机没有这项功能 / this device cannot do that",
        ErrorKind::NotOpen | ErrorKind::Claimed | ErrorKind::Busy => "设备正在使用中 / the device is in use",
        ErrorKind::Timeout => "设备没有响应 / the device did not answer in time",
        ErrorKind::UserCancelled => "已取消 / cancelled",
        ErrorKind::NoCard | ErrorKind::CardRemoved => "卡片已移开 / the card was taken away",
        ErrorKind::MultipleCards => "请只出示一张卡 / more than one card",
        ErrorKind::CardMute => "卡片没有响应 / the card does not answer",
        ErrorKind::Comm => "与设备通讯失败 / the device cannot be heard",
        ErrorKind::NoPaper => "缺纸 / no paper",
        ErrorKind::CoverOpen => "盖子未合上 / a cover is open",
        ErrorKind::Overheated => "设备过热 / too hot",
        ErrorKind::LowPower => "电量不足 / battery low",
        ErrorKind::NoKey => "没有密钥,请签到 / no key: sign in",
        ErrorKind::KcvMismatch | ErrorKind::KeyExpired => {
            "密钥无效,请重新装载 / the key is not valid: load it again"
        }
        ErrorKind::Tampered => "设备已锁定,请联系维护 / the device was opened and has locked itself",
        ErrorKind::PinBypassed => "未输入密码 / no PIN was entered",
        ErrorKind::KernelError => "芯片处理失败 / the chip could not be worked",
        ErrorKind::Offline => "设备未连接 / the device is not connected",
        ErrorKind::ServiceLost => "设备服务中断,请重试 / the device's service stopped: try again",
        _ => "设备故障 / the device has failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of error has its sentence in both languages, and none shows a driver's own words.
    #[test]
    fn every_kind_is_said_in_both_languages() {
        for kind in ErrorKind::ALL {
            let error = HalError::new(kind, hal::DeviceKind::Mag).text("errno 104");
            let text = device(&error).text;
            let (chinese, english) = text.split_once(" / ").unwrap();
            assert!(!chinese.is_ascii() && english.is_ascii(), "{text}");
            assert!(!text.contains("104") && !english.contains('/'), "{text}");
        }
    }
}
