//! Names of chip data items.

/// Tag, Chinese name, English name.
const TAGS: &[(u32, &str, &str)] = &[
    (0x42, "发卡行标识", "issuer identification number"),
    (0x4F, "应用标识", "application identifier"),
    (0x50, "应用标签", "application label"),
    (0x57, "二磁道等效数据", "track 2 equivalent data"),
    (0x5A, "应用主账号", "application PAN"),
    (0x71, "发卡行脚本1", "issuer script 1"),
    (0x72, "发卡行脚本2", "issuer script 2"),
    (0x82, "应用交互特征", "application interchange profile"),
    (0x84, "专用文件名称", "DF name"),
    (0x86, "发卡行脚本命令", "issuer script command"),
    (0x8A, "授权响应码", "authorisation response code"),
    (0x8E, "持卡人验证方法列表", "CVM list"),
    (0x8F, "CA公钥索引", "CA public key index"),
    (0x91, "发卡行认证数据", "issuer authentication data"),
    (0x95, "终端验证结果", "terminal verification results"),
    (0x9A, "交易日期", "transaction date"),
    (0x9B, "交易状态信息", "transaction status information"),
    (0x9C, "交易类型", "transaction type"),
    (0x5F20, "持卡人姓名", "cardholder name"),
    (0x5F24, "应用失效日期", "expiry date"),
    (0x5F25, "应用生效日期", "effective date"),
    (0x5F28, "发卡行国家代码", "issuer country"),
    (0x5F2A, "交易货币代码", "transaction currency"),
    (0x5F30, "服务码", "service code"),
    (0x5F34, "主账号序列号", "PAN sequence number"),
    (0x9F02, "授权金额", "authorised amount"),
    (0x9F03, "其他金额", "other amount"),
    (0x9F06, "应用标识(终端)", "application identifier, terminal"),
    (0x9F08, "卡片应用版本号", "card application version"),
    (0x9F09, "终端应用版本号", "terminal application version"),
    (0x9F10, "发卡行应用数据", "issuer application data"),
    (0x9F18, "发卡行脚本标识", "issuer script identifier"),
    (0x9F1A, "终端国家代码", "terminal country"),
    (0x9F1B, "最低限额", "floor limit"),
    (0x9F1E, "接口设备序列号", "interface device serial number"),
    (0x9F1F, "磁道1自定义数据", "track 1 discretionary data"),
    (0x9F20, "磁道2自定义数据", "track 2 discretionary data"),
    (0x9F21, "交易时间", "transaction time"),
    (0x9F22, "CA公钥索引(终端)", "CA public key index, terminal"),
    (0x9F26, "应用密文", "application cryptogram"),
    (0x9F27, "密文信息数据", "cryptogram information data"),
    (0x9F33, "终端性能", "terminal capabilities"),
    (0x9F34, "持卡人验证结果", "CVM results"),
    (0x9F35, "终端类型", "terminal type"),
    (0x9F36, "应用交易计数器", "application transaction counter"),
    (0x9F37, "不可预知数", "unpredictable number"),
    (0x9F40, "附加终端性能", "additional terminal capabilities"),
    (0x9F41, "交易序列计数器", "transaction sequence counter"),
    (0x9F4E, "商户名称", "merchant name"),
    (0x9F5D, "可用脱机消费金额", "available offline amount"),
    (0x9F63, "卡产品标识信息", "card product identification"),
    (0x9F66, "终端交易属性", "terminal transaction qualifiers"),
    (0x9F69, "卡片认证相关数据", "card authentication data"),
    (0x9F6C, "卡片交易属性", "card transaction qualifiers"),
    (0x9F74, "电子现金发卡行授权码", "electronic cash authorisation code"),
    (0x9F77, "电子现金余额上限", "electronic cash balance limit"),
    (0x9F78, "电子现金单笔限额", "electronic cash transaction limit"),
    (0x9F79, "电子现金余额", "electronic cash balance"),
    (0x9F7A, "电子现金终端支持指示器", "electronic cash support"),
    (0x9F7B, "电子现金终端交易限额", "electronic cash terminal limit"),
    (0xDF01, "应用选择指示符", "application selection indicator"),
    (0xDF02, "CA公钥模", "CA key modulus"),
    (0xDF03, "CA公钥校验值", "CA key checksum"),
    (0xDF04, "CA公钥指数", "CA key exponent"),
    (0xDF05, "CA公钥有效期", "CA key expiry"),
    (0xDF06, "CA公钥哈希算法标识", "CA key hash algorithm"),
    (0xDF07, "CA公钥算法标识", "CA key algorithm"),
    (0xDF11, "TAC-缺省", "TAC default"),
    (0xDF12, "TAC-联机", "TAC online"),
    (0xDF13, "TAC-拒绝", "TAC denial"),
    (0xDF14, "缺省DDOL", "default DDOL"),
    (0xDF15, "偏置随机选择的阈值", "random selection threshold"),
    (0xDF16, "偏置随机选择的最大目标百分数", "maximum target percentage"),
    (0xDF17, "随机选择的目标百分数", "target percentage"),
    (0xDF18, "终端联机PIN支持能力", "online PIN support"),
    (0xDF19, "非接触脱机最低限额", "contactless floor limit"),
    (0xDF20, "非接触交易限额", "contactless transaction limit"),
    (0xDF21, "非接触CVM限额", "contactless CVM limit"),
    (0xDF31, "发卡行脚本结果", "issuer script results"),
    (0xDF69, "SM算法支持指示器", "SM algorithm support"),
];

/// Chinese and English name of chip data item `tag`; empty when it is not in the dictionary.
#[must_use]
pub fn tag_names(tag: u32) -> (&'static str, &'static str) {
    TAGS.binary_search_by_key(&tag, |entry| entry.0)
        .ok()
        .and_then(|place| TAGS.get(place))
        .map_or(("", ""), |(_, zh, en)| (zh, en))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_sorted() {
        assert!(TAGS.is_sorted_by_key(|entry| entry.0));
        assert_eq!(tag_names(0x9F26).1, "application cryptogram");
        assert_eq!(tag_names(0x9F7F), ("", ""));
    }
}
