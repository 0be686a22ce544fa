// The emoji shortcodes that bots use most; an unknown one stays as it was typed.

const PAIRS = `white_check_mark ✅ x ❌ warning ⚠️ rotating_light 🚨 fire 🔥 hourglass ⌛ hourglass_flowing_sand ⏳
stopwatch ⏱️ alarm_clock ⏰ clock3 🕒 bell 🔔 no_bell 🔕 mute 🔇 eyes 👀 rocket 🚀 tada 🎉 bulb 💡 mag 🔍
chart_with_upwards_trend 📈 chart_with_downwards_trend 📉 bar_chart 📊 clipboard 📋 memo 📝 page_facing_up 📄
floppy_disk 💾 package 📦 lock 🔒 unlock 🔓 key 🔑 shield 🛡️ wrench 🔧 hammer_and_wrench 🛠️ gear ⚙️ link 🔗
arrow_up ⬆️ arrow_down ⬇️ arrow_right ➡️ arrow_left ⬅️ arrows_counterclockwise 🔄 rewind ⏪ fast_forward ⏩
leftwards_arrow_with_hook ↩️ back 🔙 black_square_for_stop ⏹️ octagonal_sign 🛑 no_entry ⛔ no_entry_sign 🚫
double_vertical_bar ⏸️ pause_button ⏸️ arrow_forward ▶️ stop_button ⏹️ heavy_check_mark ✔️ ballot_box_with_check ☑️
heavy_multiplication_x ✖️ question ❓ grey_question ❔ exclamation ❗ grey_exclamation ❕ information_source ℹ️
red_circle 🔴 large_orange_circle 🟠 large_yellow_circle 🟡 large_green_circle 🟢 large_blue_circle 🔵
white_circle ⚪ black_circle ⚫ large_green_square 🟩 large_red_square 🟥 large_yellow_square 🟨 white_large_square ⬜
small_red_triangle 🔺 small_red_triangle_down 🔻 thumbsup 👍 +1 👍 thumbsdown 👎 -1 👎 wave 👋 raised_hand ✋ pray 🙏
clap 👏 smile 😄 slightly_smiling_face 🙂 thinking_face 🤔 sweat_smile 😅 cry 😢 heart ❤️ star ⭐ sparkles ✨
zap ⚡ skull 💀 ghost 👻 robot_face 🤖 steam_locomotive 🚂 train 🚋 train2 🚆 railway_car 🚃 station 🚉
checkered_flag 🏁 triangular_flag_on_post 🚩 test_tube 🧪 microscope 🔬 computer 💻 desktop_computer 🖥️ dart 🎯
snowflake ❄️ thermometer 🌡️ broom 🧹 recycle ♻️ heartbeat 💓 pushpin 📌 zzz 💤 coffee ☕ calendar 📅 file_folder 📁
card_file_box 🗃️ speech_balloon 💬 mega 📣 loudspeaker 📢 bust_in_silhouette 👤 busts_in_silhouette 👥`.split(/\s+/);

const GLYPHS = new Map();
for (let index = 0; index < PAIRS.length; index += 2) GLYPHS.set(PAIRS[index], PAIRS[index + 1]);

export function emoji(name) {
  return GLYPHS.get(name) ?? null;
}
